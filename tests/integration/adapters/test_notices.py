"""Notices from being due to being sent, on a real PostgreSQL, SMTP server and HTTP server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from services.adapters.clock import SystemClock
from services.adapters.postgres import PostgresTransaction
from services.adapters.smtp import SmtpMailer
from services.adapters.smtp_sessions import MailServer as Target
from services.adapters.webhook import HttpWebhookSender
from services.domain.errors import Refused, Unavailable
from services.domain.model import DeviceCheck, Verdict
from services.domain.outcome import Done, Failed, NoticeEnded, Outcome
from services.domain.policy import DEFAULT, Told
from services.handlers.apply_verdict import apply_verdicts
from services.handlers.channels import senders
from services.handlers.deliver_notice import deliver_notice
from services.handlers.notify_user import notify_plainly, notify_users
from services.handlers.records import Mail
from services.handlers.settle_notice import record_receipts, try_next_channels
from tests.integration.adapters.conftest import World
from tests.integration.adapters.mail_server import MailServer, mail_server
from tests.integration.adapters.servers import HttpServer, http_server


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with mail_server() as running:
        yield running


@pytest.fixture
def hook() -> Iterator[HttpServer]:
    with http_server(lambda _: (204, {}, b"")) as running:
        yield running


class Post:
    """Delivers notices of a world over the two real channels."""

    def __init__(self, world: World, mails: MailServer) -> None:
        self.world = world
        self.mailer = SmtpMailer(Target.from_url(mails.url), "d@example.org", SystemClock())
        self.webhooks = HttpWebhookSender(["127.0.0.1"], SystemClock())
        self.senders = senders(self.mailer, self.webhooks, world.networks)

    def deliver(self, notice_id: str) -> Outcome:
        return deliver_notice(UUID(notice_id), self.world.directly, self.senders)


@pytest.fixture
def post(world: World, mails: MailServer) -> Iterator[Post]:
    made = Post(world, mails)
    yield made
    made.webhooks.close()
    made.mailer.close()


def _notify(world: World, *checks: DeviceCheck) -> list[Done]:
    with world.begin() as tx:
        outcomes = notify_users(checks, tx)
    return [outcome for outcome in outcomes if isinstance(outcome, Done)]


def _one_notice(world: World, **facts: object) -> str:
    (outcome,) = _notify(world, world.on_second_device(**facts))
    return outcome.notices[0]


def _next(world: World, notice_id: str) -> Done:
    with world.begin() as tx:
        (outcome,) = try_next_channels([UUID(notice_id)], tx)
    assert isinstance(outcome, Done)
    return outcome


def _state(world: World, notice_id: str) -> str:
    ((state,),) = world.rows("SELECT state FROM notice WHERE id = %s", notice_id)
    return str(state)


def test_a_new_device_is_told_once(world: World) -> None:
    """One notice by mail for a second device; the same workflow again records nothing new."""
    check = world.on_second_device()
    (first,) = _notify(world, check)
    (again,) = _notify(world, check)
    assert first.result == {"workflow_id": str(check.workflow_id), "notices": 1}
    assert again.result == first.result
    assert (len(first.notices), again.notices) == (1, ())
    assert world.rows("SELECT channel, reason, state FROM notice") == [
        ("email", "new_device", "recorded")
    ]


def test_a_step_that_did_not_commit_records_the_same_notice_again(world: World) -> None:
    """A notice whose transaction was lost is recorded, and named, by the repetition."""
    check = world.on_second_device()
    with world.connect() as connection:
        (lost,) = notify_users([check], PostgresTransaction(connection))
        connection.rollback()
    (repeated,) = _notify(world, check)
    assert isinstance(lost, Done)
    assert repeated.notices == lost.notices


def test_a_first_or_known_device_is_not_told(world: World) -> None:
    """Nobody is warned of the device they signed up with, or of one they use."""
    first, known = world.check(world.report())[0], world.check(world.report())[0]
    assert [outcome.result["notices"] for outcome in _notify(world, first, known)] == [0, 0]


@pytest.mark.parametrize(
    ("email", "has_webhook", "channels"),
    [("a@b.example", True, ["email"]), (None, True, ["webhook"]), (None, False, [])],
)
def test_the_channel_is_the_first_that_reaches_the_user(
    world: World, email: str | None, has_webhook: bool, channels: list[str]
) -> None:
    """By mail if there is an address, else by webhook, else not at all."""
    if has_webhook:
        world.give_webhook("https://example.org/")
    _notify(world, world.on_second_device(email=email))
    assert [channel for (channel,) in world.rows("SELECT channel FROM notice")] == channels


def test_the_fallback_tells_of_new_devices_only(world: World) -> None:
    """Without the failed step's message the rows say whether there is something to tell."""
    new = world.on_second_device()
    known = world.check(world.report())[0]
    ids = [new.workflow_id, known.workflow_id]
    with world.begin() as tx:
        outcomes = notify_plainly(ids, tx)
    assert [len(o.notices) for o in outcomes if isinstance(o, Done)] == [1, 0]
    with world.begin() as tx:
        again = notify_plainly(ids, tx)
    assert [o.notices for o in again if isinstance(o, Done)] == [(), ()]


def test_a_mail_is_sent_once(world: World, post: Post, mails: MailServer) -> None:
    """Delivering again finds it sent, and answers the same without a second mail."""
    notice_id = _one_notice(world)
    first, again = post.deliver(notice_id), post.deliver(notice_id)
    assert isinstance(first, Done)
    assert isinstance(again, Done)
    assert first.result == again.result
    assert (first.effects, again.effects) == ((NoticeEnded("email", "sent"),), ())
    assert first.result["notice_id"] == notice_id
    assert first.result["channel"] == "email"
    (mail,) = mails.mails
    assert mail["Message-ID"] == f"<{notice_id}@doorbell>"
    assert mail["Subject"] == "New sign-in to The Shop"
    text = mail.get_body(("plain",))
    assert text is not None
    assert "Firefox on Windows" in text.get_content()
    assert world.rows("SELECT state, attempts, receipt FROM notice") == [
        ("sent", 1, first.result["receipt"])
    ]


def test_the_intent_is_committed_before_the_call(world: World, post: Post) -> None:
    """While the mail is on its way, others see `sending` and do not send it too."""
    notice_id = _one_notice(world)
    seen: list[object] = []

    class Watching:
        def send(self, mail: Mail) -> str:
            seen.extend(world.rows("SELECT state, attempts FROM notice"))
            seen.append(post.deliver(notice_id))
            return "250 OK"

    watched = senders(Watching(), post.webhooks, world.networks)
    deliver_notice(UUID(notice_id), world.directly, watched)
    assert seen[0] == ("sending", 1)
    assert isinstance(seen[1], Failed)
    assert isinstance(seen[1].error, Unavailable)


def test_deliveries_at_once_send_one_mail(world: World, post: Post, mails: MailServer) -> None:
    """Of concurrent deliveries of one notice, one sends."""
    notice_id = _one_notice(world)
    start = threading.Barrier(6)

    def deliver(_: int) -> Outcome:
        start.wait(10)
        return post.deliver(notice_id)

    with ThreadPoolExecutor(6) as threads:
        outcomes = list(threads.map(deliver, range(6)))
    assert len(mails.mails) == 1
    assert any(isinstance(outcome, Done) for outcome in outcomes)


def test_a_sender_that_died_is_followed_when_its_lease_ends(
    world: World, post: Post, mails: MailServer
) -> None:
    """After a kill in the sending window the notice is sent again, under the same id."""
    notice_id = _one_notice(world)
    with world.begin() as tx:
        tx.claim_notice(UUID(notice_id), 20)
    assert isinstance(post.deliver(notice_id), Failed)
    world.rows("UPDATE notice SET lease_until = now() - interval '1 second'")
    assert isinstance(post.deliver(notice_id), Done)
    assert [mail["Message-ID"] for mail in mails.mails] == [f"<{notice_id}@doorbell>"]


def test_a_failed_attempt_is_tried_again_at_once(
    world: World, post: Post, mails: MailServer
) -> None:
    """A mail server that asks for later is asked later, without waiting for a lease."""
    notice_id = _one_notice(world)
    mails.answers["RCPT"] = "451 later"
    outcome = post.deliver(notice_id)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, Unavailable)
    mails.answers.clear()
    assert isinstance(post.deliver(notice_id), Done)
    assert world.rows("SELECT attempts, error FROM notice") == [(2, None)]


def test_a_second_attempt_says_what_the_first_said(world: World, post: Post) -> None:
    """A verdict that comes between two attempts at one notice changes nothing in its body."""
    answers = iter([(503, {}, b""), (204, {}, b"")])
    with http_server(lambda _: next(answers)) as failing:
        world.give_webhook(failing.url)
        check = world.on_second_device(email=None)
        (outcome,) = _notify(world, check)
        assert isinstance(post.deliver(outcome.notices[0]), Failed)
        verdict = Verdict(check.workflow_id, "high", "deny", 0.9, (), "m1", "r1")
        with world.begin() as tx:
            apply_verdicts([verdict], tx)
        assert isinstance(post.deliver(outcome.notices[0]), Done)
    first, second = failing.received
    assert first.body == second.body


def test_a_webhook_is_called_with_the_notice_s_id(
    world: World, post: Post, hook: HttpServer
) -> None:
    """Without an address the application is told, and can recognise a repetition."""
    world.give_webhook(hook.url)
    notice_id = _one_notice(world, email=None)
    outcome = post.deliver(notice_id)
    assert isinstance(outcome, Done)
    assert outcome.result == {"notice_id": notice_id, "channel": "webhook", "receipt": "HTTP 204"}
    (call,) = hook.received
    assert call.headers["idempotency-key"] == notice_id
    assert call.json()["type"] == "notice.new_device"
    assert call.json()["device"] == "Firefox on Windows"


def test_the_next_channel_takes_over_a_refused_notice(
    world: World, post: Post, mails: MailServer, hook: HttpServer
) -> None:
    """A refused mail leads to one webhook call; the mail is not sent later as well."""
    world.give_webhook(hook.url)
    notice_id = _one_notice(world)
    mails.answers["RCPT"] = "550 unknown"
    outcome = post.deliver(notice_id)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, Refused)
    followed, again = _next(world, notice_id), _next(world, notice_id)
    assert followed.result["next"] == followed.notices[0]
    assert again.notices == ()
    assert _state(world, notice_id) == "superseded"
    assert isinstance(post.deliver(followed.notices[0]), Done)
    mails.answers.clear()
    assert isinstance(post.deliver(notice_id), Done)
    assert (len(mails.mails), len(hook.received)) == (0, 1)


def test_without_a_next_channel_the_notice_has_failed(
    world: World, post: Post, mails: MailServer
) -> None:
    """The last channel's failure stands; an operator's replay may still send it."""
    notice_id = _one_notice(world)
    mails.answers["RCPT"] = "550 unknown"
    post.deliver(notice_id)
    assert _next(world, notice_id).notices == ()
    assert _state(world, notice_id) == "failed"
    mails.answers.clear()
    assert isinstance(post.deliver(notice_id), Done)
    assert _state(world, notice_id) == "sent"


def test_a_sent_notice_is_never_given_up(world: World, post: Post) -> None:
    """An error callback that comes late does not tell the user a second time."""
    world.give_webhook("https://example.org/")
    notice_id = _one_notice(world)
    post.deliver(notice_id)
    assert _next(world, notice_id).notices == ()
    assert _state(world, notice_id) == "sent"


def test_who_was_held_up_does_not_send(world: World, post: Post, mails: MailServer) -> None:
    """A process that stood still between its claim and its call leaves the call to whoever has the lease now."""
    notice_id = UUID(_one_notice(world))
    times = iter((0.0, 6.0))
    held_up = deliver_notice(
        notice_id,
        world.directly,
        post.senders,
        elapsed=lambda: next(times),
    )
    assert isinstance(held_up, Failed)
    assert isinstance(held_up.error, Unavailable)
    assert mails.mails == []


def test_a_receipt_is_recorded_once(world: World, post: Post) -> None:
    """The list of receipts has one row for a delivered notice and none for one that gave way to another."""
    world.give_webhook("https://example.org/")
    notice_id = _one_notice(world)
    given_up = _one_notice(world, user_agent="curl/8.5.0")
    _next(world, given_up)
    post.deliver(notice_id)
    for _ in range(2):
        with world.begin() as tx:
            outcomes = record_receipts([(UUID(notice_id), "250"), (UUID(given_up), "250")], tx)
        assert [o.result["recorded"] for o in outcomes if isinstance(o, Done)] == [True, False]
    assert world.rows("SELECT notice_id FROM receipt") == [(UUID(notice_id),)]


def test_a_receipt_proves_a_sending_that_the_database_forgot(world: World) -> None:
    """A database that was put back knows the intent alone; the message of the next step knows the rest."""
    notice_id = _one_notice(world)
    with world.begin() as tx:
        assert tx.claim_notice(UUID(notice_id), 20)[0]
    with world.begin() as tx:
        (outcome,) = record_receipts([(UUID(notice_id), "250 taken")], tx)
    assert isinstance(outcome, Done)
    assert outcome.result["recorded"]
    assert _state(world, notice_id) == "sent"
    assert world.rows("SELECT receipt FROM receipt") == [("250 taken",)]


def test_a_notice_that_was_erased_is_refused(post: Post) -> None:
    """There is nothing to send, and no use in trying again."""
    outcome = post.deliver(str(uuid4()))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, Refused)


@pytest.mark.parametrize(
    ("told", "may", "channels"),
    [
        ("user", True, []),
        ("both", True, ["webhook"]),
        ("application", True, ["webhook"]),
        ("user", False, ["email"]),
    ],
)
def test_who_has_unsubscribed_gets_no_mail_about_a_device(
    world: World, told: Told, may: bool, channels: list[str]
) -> None:
    """As far as the policy still lets them; the application hears what it heard before, and a verdict is told of."""
    world.give_webhook("https://shop.example/hook")
    policy = replace(DEFAULT, may_unsubscribe=may, tell={"new_device": told, "verdict": "user"})
    world.rows("UPDATE tenant SET policy = %s::jsonb", json.dumps(policy.to_document()))
    world.rows("INSERT INTO unsubscribed (tenant_id, user_id) VALUES ('shop', 'ada')")
    check = world.on_second_device()
    with world.begin() as tx:
        notify_users([check], tx)
    assert [row[0] for row in world.rows("SELECT channel FROM notice")] == channels
    verdict = Verdict(check.workflow_id, "high", "challenge", 9.0, (), "m1", "r")
    with world.begin() as tx:
        apply_verdicts([verdict], tx)
    found = world.rows("SELECT channel FROM notice WHERE reason = 'verdict'")
    assert found == [("email",)]
