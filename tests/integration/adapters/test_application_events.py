"""What applications are told: recorded with what happened, sent once each, kept while a receiver is away."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.adapters.clock import SystemClock
from services.adapters.events import PostgresEvents, event_stores
from services.adapters.webhook import HttpWebhookSender
from services.domain.errors import Unavailable
from services.domain.outcome import Done
from services.domain.policy import DEFAULT, EVENTS
from services.handlers.records import Delivery
from services.handlers.score_login import unscored
from services.handlers.settle_notice import try_next_channels
from services.handlers.tell_application import AT_ONCE, tell_application
from tests.integration.adapters.conftest import World
from tests.integration.adapters.judging import apply, make_verdict, store_earlier
from tests.integration.adapters.servers import HttpServer, http_server


@pytest.fixture
def receiver(world: World) -> Iterator[HttpServer]:
    """The shop's; it hears of everything."""
    with http_server(lambda _: (204, {}, b"")) as running:
        world.give_webhook(running.url + "/hook", "whsec_c2VjcmV0")
        _set_policy(world, *EVENTS)
        yield running


@pytest.fixture
def sender() -> Iterator[HttpWebhookSender]:
    made = HttpWebhookSender(["127.0.0.1"], SystemClock())
    yield made
    made.close()


class Dumb:
    """A sender that never gets an answer, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def send(self, delivery: Delivery) -> str:
        self.calls += 1
        raise Unavailable("no answer: ReadTimeout")


def _set_policy(world: World, *events: str, **more: Any) -> None:
    document = DEFAULT.to_document() | {"events": list(events)} | more
    world.rows("UPDATE tenant SET policy = %s::jsonb", json.dumps(document))


def _claim(world: World, most: int = 4) -> dict[str, int]:
    with world.connect() as connection:
        return dict(PostgresEvents(connection).claim_receivers(most))


def _tell(world: World, sender: Any) -> dict[str, Any]:
    """As the step does for each receiver that is taken."""
    [(tenant, turn)] = _claim(world).items()
    outcome = tell_application(tenant, turn, event_stores(world.connect), sender)
    assert isinstance(outcome, Done)
    return dict(outcome.result)


def _types(world: World) -> list[str]:
    return [row[0] for row in world.rows("SELECT type FROM application_event ORDER BY type")]


def _make_due(world: World) -> None:
    world.rows("UPDATE application_event SET due_at = now() WHERE state = 'due'")
    world.rows("UPDATE webhook_receiver SET closed_until = NULL")


def test_a_verdict_and_its_switches_are_told(
    world: World, receiver: HttpServer, sender: HttpWebhookSender
) -> None:
    """With the id that the application gave the login; each once, however often it is acted on and asked for."""
    store_earlier(world)
    login = world.saved()
    for _ in range(2):
        apply(world, make_verdict(login.workflow_id, "high", "deny"))
    assert _tell(world, sender) == {"tenant_id": "shop", "sent": 3}
    assert _claim(world) == {}
    bodies = {body["type"] + body.get("switch", ""): body for body in _bodies(receiver)}
    assert set(bodies) == {"login.verdict", "switch.changedlocked", "switch.changedrequire_step_up"}
    verdict = bodies["login.verdict"]
    about = {"user_id": "ada", "workflow_id": str(login.workflow_id), "event_id": login.event_id}
    assert verdict.items() >= about.items()
    assert verdict["switches"] == ["require_step_up", "locked"]
    assert (verdict["level"], verdict["action"], verdict["score"]) == ("high", "deny", 1.5)
    assert verdict["reasons"] == ["new_device", 'é,{}"']
    assert verdict["late"] is False
    locked = bodies["switch.changedlocked"]
    assert locked.items() >= about.items()
    assert (locked["is_on"], locked["by"]) == (True, "verdict")
    assert {got.headers["webhook-id"] for got in receiver.received} == {
        body["id"] for body in bodies.values()
    }


def _bodies(receiver: HttpServer) -> list[dict[str, Any]]:
    return [got.json() for got in receiver.received]


def test_a_login_that_is_scored_late_is_told_of_twice(world: World, receiver: HttpServer) -> None:
    """First that it has no score."""
    login = world.saved()
    apply(world, unscored(login.workflow_id))
    apply(world, make_verdict(login.workflow_id))
    found = world.rows(
        "SELECT data ->> 'level', data ->> 'late' FROM application_event ORDER BY recorded_at"
    )
    assert found == [("unscored", "false"), ("low", "true")]


@pytest.mark.parametrize(
    ("actor", "reason", "by"),
    [(None, "expired", "expiry"), ("ada@desk", "a ticket", "operator"), (None, "disowned", "user")],
)
def test_whoever_flips_a_switch_it_is_told(
    world: World, receiver: HttpServer, actor: str | None, reason: str, by: str
) -> None:
    """Whatever wrote the flip down; what an operator gave as a reason stays inside."""
    world.rows(
        "INSERT INTO switch_change (tenant_id, user_id, name, is_on, reason, actor)"
        " VALUES ('shop', 'ada', 'locked', false, %s, %s)",
        reason,
        actor,
    )
    [(user, data)] = world.rows("SELECT user_id, data FROM application_event")
    assert (user, data["by"], data["is_on"]) == ("ada", by, False)
    assert reason not in data.values()


def test_what_was_not_asked_for_is_not_told(world: World, receiver: HttpServer) -> None:
    """Without a policy, of switches alone; and of nothing without a webhook, or when nothing is done."""
    world.rows("UPDATE tenant SET policy = NULL")
    apply(world, make_verdict(world.saved().workflow_id, "medium", "challenge"))
    assert _types(world) == ["switch.changed"]
    world.rows("DELETE FROM application_event")
    _set_policy(world)
    apply(world, make_verdict(world.saved().workflow_id, "high", "deny"))
    _set_policy(world, *EVENTS, dry_run=True)
    apply(world, make_verdict(world.saved(user_id="bob").workflow_id, "high", "deny"))
    _set_policy(world, *EVENTS)
    world.rows("UPDATE tenant SET webhook_url = NULL")
    apply(world, make_verdict(world.saved(user_id="eve").workflow_id, "high", "deny"))
    assert _types(world) == []


def test_a_notice_that_reached_nobody_is_told(world: World, receiver: HttpServer) -> None:
    """Once, after the last channel."""
    workflow_id = world.on_second_device().workflow_id
    mail, hook = uuid4(), uuid4()
    for notice_id, channel, state in (
        (mail, "email", "superseded"),
        (hook, "webhook", "recorded"),
    ):
        world.rows(
            "INSERT INTO notice (id, workflow_id, tenant_id, user_id, reason, channel, state)"
            " VALUES (%s, %s, 'shop', 'ada', 'new_device', %s, %s)",
            notice_id,
            workflow_id,
            channel,
            state,
        )
    for _ in range(2):
        with world.begin() as tx:
            try_next_channels([hook], tx)
    [(type_, data)] = world.rows("SELECT type, data FROM application_event")
    assert type_ == "notice.failed"
    assert data == {"notice_id": str(hook), "notice": "new_device", "channel": "webhook"}


def test_what_a_receiver_does_not_answer_waits_for_it(world: World, receiver: HttpServer) -> None:
    """No more is called then, and only one when it is tried again; the pauses grow."""
    for number in range(AT_ONCE + 5):
        apply(world, make_verdict(world.saved(user_id=f"u{number}").workflow_id))
    dumb = Dumb()
    assert _tell(world, dumb) == {"tenant_id": "shop", "put_off": AT_ONCE}
    assert _claim(world) == {}
    pauses = []
    for _ in range(3):
        world.rows("UPDATE webhook_receiver SET closed_until = now()")
        before = dumb.calls
        assert _tell(world, dumb)["put_off"] == dumb.calls - before == 1
        [(pause,)] = world.rows(
            "SELECT extract(epoch FROM closed_until - now())::float8 FROM webhook_receiver"
        )
        pauses.append(pause)
    assert [round(pause) for pause in pauses] == [4, 8, 16]


def test_a_receiver_that_is_back_gets_all(
    world: World, receiver: HttpServer, sender: HttpWebhookSender
) -> None:
    """Nothing of what waited is missing, and nothing is there twice."""
    for number in range(AT_ONCE + 5):
        apply(world, make_verdict(world.saved(user_id=f"u{number}").workflow_id))
    _tell(world, Dumb())
    _make_due(world)
    assert _tell(world, sender) == {"tenant_id": "shop", "sent": AT_ONCE + 5}
    assert len({body["id"] for body in _bodies(receiver)}) == AT_ONCE + 5
    assert world.rows("SELECT failures, closed_until FROM webhook_receiver") == [(0, None)]


def test_one_that_is_never_answered_holds_up_no_other(
    world: World, receiver: HttpServer, sender: HttpWebhookSender
) -> None:
    """What was tried least goes first, also when only one is tried."""
    stuck = world.saved(user_id="stuck").workflow_id
    apply(world, make_verdict(stuck))
    receiver.reply = lambda got: (503 if b'"stuck"' in got.body else 204, {}, b"")
    assert _tell(world, sender)["put_off"] == 1
    for number in range(5):
        apply(world, make_verdict(world.saved(user_id=f"u{number}").workflow_id))
    _make_due(world)
    assert _tell(world, sender) == {"tenant_id": "shop", "sent": 5, "put_off": 1}


def test_what_is_refused_is_given_up(
    world: World, receiver: HttpServer, sender: HttpWebhookSender
) -> None:
    """A 4xx is an answer: the others go on."""
    apply(world, make_verdict(world.saved(user_id="no").workflow_id))
    apply(world, make_verdict(world.saved(user_id="yes").workflow_id))
    receiver.reply = lambda got: (400 if b'"no"' in got.body else 204, {}, b"")
    assert _tell(world, sender) == {"tenant_id": "shop", "sent": 1, "refused": 1}
    found = world.rows("SELECT user_id, state, answer FROM application_event ORDER BY user_id")
    assert found == [
        ("no", "given_up", "the webhook answered 400"),
        ("yes", "sent", "HTTP 204"),
    ]


def test_after_three_days_it_is_given_up(world: World, receiver: HttpServer) -> None:
    """Not before: it is tried every ten minutes at least."""
    apply(world, make_verdict(world.saved().workflow_id))
    world.rows(
        "UPDATE application_event SET keep_until = now() + interval '1 minute', attempts = 50"
    )
    assert _tell(world, Dumb())["put_off"] == 1
    [(pause,)] = world.rows("SELECT extract(epoch FROM due_at - now())::int FROM application_event")
    assert 590 <= pause <= 600
    _make_due(world)
    world.rows("UPDATE application_event SET keep_until = now() - interval '1 second'")
    assert _tell(world, Dumb())["given_up"] == 1
    assert world.rows("SELECT state FROM application_event") == [("given_up",)]


def test_each_receiver_is_called_by_one_step_at_a_time(world: World, receiver: HttpServer) -> None:
    """Until that is over, or has died; and no more than so many are called at once."""
    apply(world, make_verdict(world.saved().workflow_id))
    world.rows(
        "INSERT INTO tenant (id, name, webhook_url, webhook_secret) VALUES ('other', 'O', 'https://o/', 's')"
    )
    world.rows(
        "INSERT INTO application_event (id, tenant_id, type, data)"
        " VALUES (gen_random_uuid(), 'other', 'webhook.test', '{}')"
    )
    assert len(_claim(world, 1)) == 1
    assert _claim(world, 1) == {}
    assert len(_claim(world, 2)) == 1
    assert _claim(world, 2) == {}
    world.rows("UPDATE webhook_receiver SET busy_until = now()")
    assert sorted(_claim(world, 2)) == ["other", "shop"]


def test_two_steps_for_one_receiver_share_what_is_due(
    world: World, receiver: HttpServer, sender: HttpWebhookSender
) -> None:
    """Also when one message is delivered to two processes."""
    for number in range(2 * AT_ONCE):
        apply(world, make_verdict(world.saved(user_id=f"u{number}").workflow_id))
    turn = _claim(world)["shop"]
    begun = threading.Barrier(2, timeout=20)
    results: list[Any] = []

    def tell() -> None:
        begun.wait()
        results.append(tell_application("shop", turn, event_stores(world.connect), sender))

    threads = [threading.Thread(target=tell) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(result.result.get("sent", 0) for result in results) == 2 * AT_ONCE
    assert len({body["id"] for body in _bodies(receiver)}) == len(receiver.received) == 2 * AT_ONCE


def test_what_was_under_way_when_a_process_died_is_sent_again(
    world: World, receiver: HttpServer, sender: HttpWebhookSender
) -> None:
    """Under its id, once its lease is over."""
    apply(world, make_verdict(world.saved().workflow_id))
    [(tenant, turn)] = _claim(world).items()
    with event_stores(world.connect)() as store:
        [event] = store.claim_events(tenant, turn, AT_ONCE, 30)
        assert list(store.claim_events(tenant, turn, AT_ONCE, 30)) == []
    world.rows("UPDATE webhook_receiver SET busy_until = now()")
    assert _claim(world) == {}
    _make_due(world)
    assert _tell(world, sender)["sent"] == 1
    assert [UUID(body["id"]) for body in _bodies(receiver)] == [event.id]


def test_an_attempt_that_is_over_late_takes_nothing_back(
    world: World, receiver: HttpServer
) -> None:
    """Another one has sent it meanwhile."""
    apply(world, make_verdict(world.saved().workflow_id))
    begin = event_stores(world.connect)
    turn = _claim(world)["shop"]
    with begin() as store:
        [first] = store.claim_events("shop", turn, 1, 30)
    _make_due(world)
    with begin() as store:
        [second] = store.claim_events("shop", turn, 1, 30)
        store.put_off_event(first, "too late")
    [(answer, attempts)] = world.rows("SELECT answer, attempts FROM application_event")
    assert (answer, attempts) == (None, 2)
    with begin() as store:
        store.end_event(second.id, "sent", "HTTP 204")
        store.put_off_event(first, "too late")
    assert world.rows("SELECT state FROM application_event") == [("sent",)]


def test_a_round_ends_in_time_though_more_is_due(world: World, receiver: HttpServer) -> None:
    """The step would be killed otherwise; the next begins at once."""
    for number in range(AT_ONCE + 1):
        apply(world, make_verdict(world.saved(user_id=f"u{number}").workflow_id))
    ticks: Callable[[], float] = iter([0.0, 0.0, 0.0, 0.0, 7.0, 7.0]).__next__
    sent: list[Delivery] = []

    class Quick:
        def send(self, delivery: Delivery) -> str:
            sent.append(delivery)
            return "HTTP 204"

    [(tenant, turn)] = _claim(world).items()
    tell_application(tenant, turn, event_stores(world.connect), Quick(), ticks)
    assert len(sent) == AT_ONCE
    assert list(_claim(world)) == ["shop"]


def test_a_step_that_comes_too_late_does_nothing(
    world: World, receiver: HttpServer, sender: HttpWebhookSender
) -> None:
    """It was taken for dead: another one's turn has begun, which it neither shares nor ends."""
    apply(world, make_verdict(world.saved().workflow_id))
    late = _claim(world)["shop"]
    world.rows("UPDATE webhook_receiver SET busy_until = now(), failures = 3")
    turn = _claim(world)["shop"]
    outcome = tell_application("shop", late, event_stores(world.connect), sender)
    assert isinstance(outcome, Done)
    assert dict(outcome.result) == {"tenant_id": "shop"}
    assert world.rows("SELECT turn, busy_until > now(), failures FROM webhook_receiver") == [
        (turn, True, 3)
    ]


def test_receivers_take_turns(world: World, receiver: HttpServer) -> None:
    """Who was called longest ago comes first, whatever its name."""
    world.rows(
        "INSERT INTO tenant (id, name, webhook_url, webhook_secret)"
        " SELECT name, 'T', 'https://t/', 's' FROM unnest('{a,b}'::text[]) AS name"
    )
    world.rows(
        "INSERT INTO application_event (id, tenant_id, type, data)"
        " SELECT gen_random_uuid(), id, 'webhook.test', '{}' FROM tenant"
    )
    order: list[str] = []
    for _ in range(6):
        order += _claim(world, 1)
        world.rows("UPDATE webhook_receiver SET busy_until = NULL")
    assert sorted(order[:3]) == ["a", "b", "shop"]
    assert order[3:] == order[:3]


def test_what_nobody_takes_is_given_up_though_it_was_never_tried(
    world: World, receiver: HttpServer
) -> None:
    """After the three days; a receiver that was away for a month does not hear all of it."""
    apply(world, make_verdict(world.saved().workflow_id))
    world.rows("UPDATE application_event SET keep_until = now() - interval '1 second'")
    apply(world, make_verdict(world.saved(user_id="bob").workflow_id))
    with world.connect() as connection:
        PostgresEvents(connection).give_up_old()
    found = world.rows("SELECT user_id, state FROM application_event ORDER BY user_id")
    assert found == [("ada", "given_up"), ("bob", "due")]
