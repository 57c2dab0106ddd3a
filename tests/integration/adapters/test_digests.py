"""A day's sign-ins are told of once, in one mail, at the hour that the user's clock has for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from routing.load import load as load_topology
from services import personal_data
from services.canvas.digesting import digesting
from services.celery_app import make_app
from services.domain.errors import Refused
from services.domain.model import Login
from services.domain.outcome import Done, Failed, Outcome
from services.domain.policy import DEFAULT, Policy
from services.handlers.channels import Senders, senders
from services.handlers.deliver_notice import deliver_notice
from services.handlers.digest import digest_devices, digest_others, record_digests
from services.handlers.notify_user import notify_users
from services.handlers.records import Mail
from services.handlers.save_event import save_events
from services.handlers.settle_notice import try_next_channels
from services.ledger.message import Message
from services.ledger.planning import Plan, plan
from services.settings import Settings
from services.user_digests import MOST_DEVICES, DayNotOver, begin_due, begin_of_day
from tests.integration.adapters.conftest import SAFARI, World

BERLIN = "Europe/Berlin"
DIGESTS = replace(DEFAULT, digest_hour=8)
SATURDAY = date(2026, 3, 28)
"""In the night behind it clocks in Europe go forward."""
NOON = datetime(2026, 3, 28, 11, 0, tzinfo=UTC)
DUE = datetime(2026, 3, 29, 6, 0, tzinfo=UTC)
"""Eight o'clock in Berlin, an hour earlier than on the day before."""
APP = make_app(Settings("pyamqp://nobody@localhost//", "postgresql://nowhere"), load_topology())


def _plan(workflow_id: UUID, devices: int, label: str) -> Plan:
    return plan(APP, digesting(APP, workflow_id, devices), label)


@pytest.fixture(autouse=True)
def _digests(world: World) -> None:
    _set(world, DIGESTS)


def _set(world: World, policy: Policy) -> None:
    world.rows("UPDATE tenant SET policy = %s", json.dumps(policy.to_document()))


def _saved(world: World, **facts: Any) -> Login:
    return world.saved(**({"occurred_at": NOON, "time_zone": BERLIN} | facts))


def _begin(world: World, now: datetime = DUE) -> list[UUID]:
    """The workflows that a turn of beat's begins."""
    with world.connect() as connection:
        begun, _ = begin_due(connection, _plan, 200, now)
    rows = world.rows(
        "SELECT id FROM workflow WHERE name = 'digest' ORDER BY accepted_at DESC LIMIT %s", begun
    )
    assert len(rows) == begun
    return [workflow_id for (workflow_id,) in rows]


def _do(world: World, workflow_id: UUID) -> Outcome:
    """All steps of a digest, in a process's order; the last one's outcome."""
    places = world.rows(
        "SELECT workflow_id, position FROM digest_device WHERE workflow_id = %s", workflow_id
    )
    with world.begin() as tx:
        parts = [*digest_devices([(i, position) for i, position in places], tx)]
        parts += digest_others([workflow_id], tx)
    results = [part.result for part in parts if isinstance(part, Done)]
    assert len(results) == len(parts)
    with world.begin() as tx:
        [outcome] = record_digests([results], tx)
    return outcome


class Mailer:
    def __init__(self) -> None:
        self.mails: list[Mail] = []

    def send(self, mail: Mail) -> str:
        self.mails.append(mail)
        return "250 taken"


def _told(world: World, now: datetime = DUE) -> list[Mail]:
    """The mails of a turn of beat's."""
    mailer = Mailer()
    for workflow_id in _begin(world, now):
        outcome = _do(world, workflow_id)
        assert isinstance(outcome, Done)
        for notice_id in outcome.notices:
            deliver_notice(UUID(notice_id), world.directly, _senders(world, mailer))
    return mailer.mails


def _senders(world: World, mailer: Mailer) -> Senders:
    no_webhook: Any = None
    return senders(mailer, no_webhook, world.networks)


def test_a_user_is_told_at_eight_by_his_clock(world: World) -> None:
    """Across the change of clocks; not a minute before, and not again."""
    _saved(world)
    assert _told(world, DUE - timedelta(minutes=1)) == []
    [mail] = _told(world)
    assert mail.recipient == "ada@example.org"
    assert mail.subject == "Your sign-ins to The Shop on 28 March 2026"
    assert _told(world, DUE + timedelta(minutes=5)) == []
    assert _told(world, DUE + timedelta(hours=23)) == []


def test_a_mail_lists_devices(world: World) -> None:
    """How often, when last and from where; what is new says so; sign-ins of other days and people are not in it."""
    _saved(world, occurred_at=NOON - timedelta(days=1))
    _saved(world, occurred_at=NOON - timedelta(hours=2))
    _saved(world)
    _saved(world, user_agent=SAFARI, ip="198.51.100.9", occurred_at=NOON - timedelta(hours=1))
    _saved(world, user_id="eve")
    _saved(world, kind="second_factor", occurred_at=NOON + timedelta(hours=1))
    _saved(world, history=True, occurred_at=NOON + timedelta(hours=2))
    assert len(_told(world, DUE - timedelta(hours=23))) == 1
    mails = {mail.recipient: mail.text for mail in _told(world)}
    assert {*mails} == {"ada@example.org", "eve@example.org"}
    told = mails["ada@example.org"].split("\n\n")
    [phone] = [part for part in told if "Safari" in part]
    [computer] = [part for part in told if "Firefox" in part]
    assert phone.splitlines()[1:] == [
        "  New: used for the first time that day",
        "  Sign-ins: 1",
        "  Last sign-in: 28 March 2026, 11:00 (Europe/Berlin)",
        "  Address: 198.51.100.9",
    ]
    assert computer.splitlines()[1:] == [
        "  Sign-ins: 2",
        "  Last sign-in: 28 March 2026, 12:00 (Europe/Berlin)",
        "  Address: 203.0.113.7",
    ]


def test_many_devices_are_counted_together(world: World) -> None:
    """A mail stays one that is read, and adds up."""
    for number in range(MOST_DEVICES + 3):
        agent = f"App{number}/1.0 (Windows NT 10.0) Special{number}/2.0"
        _saved(world, user_agent=agent, occurred_at=NOON + timedelta(minutes=number))
    [mail] = _told(world)
    assert mail.text.count("Last sign-in") == MOST_DEVICES
    assert "Further devices\n  Devices: 3\n  Sign-ins: 3" in mail.text


def test_a_traveller_is_told_of_each_sign_in_once(world: World) -> None:
    """A day belongs to the clock where the sign-in was; it is told of once it is over wherever there was one."""
    _saved(world, time_zone="Asia/Tokyo", occurred_at=datetime(2026, 3, 28, 1, tzinfo=UTC))
    _saved(world, time_zone="America/New_York", occurred_at=datetime(2026, 3, 29, 1, tzinfo=UTC))
    assert _told(world, datetime(2026, 3, 28, 23, tzinfo=UTC)) == []
    [mail] = _told(world, datetime(2026, 3, 29, 12, tzinfo=UTC))
    assert "Sign-ins: 2" in mail.text


def test_turns_at_one_moment_begin_a_digest_once(world: World) -> None:
    """Whoever is second leaves it alone."""
    for number in range(20):
        _saved(world, user_id=f"user-{number}")

    def turn(_: int) -> int:
        with world.connect() as connection:
            return begin_due(connection, _plan, 200, DUE)[0]

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(turn, range(4))) == 20
    assert world.rows("SELECT count(*) FROM workflow WHERE name = 'digest'") == [(20,)]


def test_a_turn_that_is_killed_begins_nothing(world: World) -> None:
    """What it had taken is the next one's."""
    _saved(world)
    with world.connect() as connection:
        assert begin_due(connection, _plan, 200, DUE)[0] == 1
        connection.rollback()
    assert world.rows("SELECT count(*) FROM workflow WHERE name = 'digest'") == [(0,)]
    assert len(_told(world)) == 1


def test_a_step_that_runs_again_changes_nothing(world: World) -> None:
    """Also when a login of that day came in between: there is no second mail."""
    _saved(world)
    [workflow_id] = _begin(world)
    first = _do(world, workflow_id)
    assert isinstance(first, Done)
    assert len(first.notices) == 1
    _saved(world, occurred_at=NOON + timedelta(hours=1))
    again = _do(world, workflow_id)
    assert isinstance(again, Done)
    assert again.notices == ()
    assert _begin(world) == []
    assert world.rows("SELECT count(*) FROM notice") == [(1,)]


def _unsubscribed(world: World) -> None:
    world.rows("INSERT INTO unsubscribed (tenant_id, user_id) VALUES ('shop', 'ada')")


def _without_address(world: World) -> None:
    world.rows("UPDATE reported_login SET email = NULL")


def _without_digests(world: World) -> None:
    world.rows("UPDATE tenant SET policy = NULL")


@pytest.mark.parametrize("change", [_unsubscribed, _without_address, _without_digests])
def test_who_is_not_to_be_told_has_no_workflow(world: World, change: Any) -> None:
    """A row that would wait for ever is not left either."""
    _saved(world)
    change(world)
    assert _begin(world) == []
    assert world.rows("SELECT count(*) FROM digest") == [(0,)]


@pytest.mark.parametrize("change", [_unsubscribed, _without_address, _without_digests])
def test_who_changes_his_mind_meanwhile_gets_no_mail(world: World, change: Any) -> None:
    """The last step looks again."""
    _saved(world)
    [workflow_id] = _begin(world)
    change(world)
    outcome = _do(world, workflow_id)
    assert isinstance(outcome, Done)
    assert (outcome.notices, outcome.result["notices"]) == ((), 0)


def test_a_day_late_is_too_late(world: World) -> None:
    """After an outage of days nobody gets all of them at once."""
    _saved(world)
    assert _begin(world, DUE + timedelta(hours=25)) == []
    assert world.rows("SELECT count(*) FROM digest") == [(0,)]


def test_without_a_policy_nothing_is_kept_for_it(world: World) -> None:
    """Tenants that want none pay for none."""
    _without_digests(world)
    _saved(world)
    assert world.rows("SELECT count(*) FROM digest") == [(0,)]
    assert world.rows("SELECT digest_day FROM login") == [(None,)]


def test_a_dry_run_records_and_sends_nothing(world: World) -> None:
    """As with every notice."""
    _set(world, replace(DIGESTS, is_dry_run=True))
    _saved(world)
    assert _told(world) == []
    assert world.rows("SELECT reason, state FROM notice") == [("digest", "dry_run")]


def test_the_number_of_mails_within_an_hour_does_not_count_it(world: World) -> None:
    """Nor is it held back by others."""
    _set(world, replace(DIGESTS, mails_per_hour=1))
    _saved(world)
    assert len(_told(world)) == 1
    checks = world.check(_new_report(world))
    with world.begin() as tx:
        [outcome] = notify_users([replace(check, is_new=True) for check in checks], tx)
    assert isinstance(outcome, Done)
    assert len(outcome.notices) == 1
    _saved(world, occurred_at=NOON + timedelta(days=1))
    assert len(_told(world, DUE + timedelta(days=1))) == 1


def _new_report(world: World) -> Login:
    return world.report(user_agent=SAFARI)


def test_a_mail_that_cannot_be_delivered_goes_to_the_other_address(world: World) -> None:
    """And to no application, which knows all sign-ins."""
    world.give_webhook("https://example.org/hook")
    _saved(world, other_email="ada@example.net")
    [workflow_id] = _begin(world)
    outcome = _do(world, workflow_id)
    for left in (1, 0):
        assert isinstance(outcome, Done)
        with world.begin() as tx:
            [outcome] = try_next_channels([UUID(it) for it in outcome.notices], tx)
        assert isinstance(outcome, Done)
        assert len(outcome.notices) == left
    told = world.rows("SELECT channel, state FROM notice ORDER BY channel")
    assert told == [("email", "superseded"), ("other_email", "failed")]


def test_an_erased_user_is_told_nothing(world: World) -> None:
    """Before the workflow, between its steps, and before the delivery."""
    _saved(world)
    world.rows("UPDATE workflow SET user_id = 'ada'")
    with world.connect() as connection:
        assert personal_data.count(connection, "shop", "ada")["digest"] == 1
    [workflow_id] = _begin(world)
    outcome = _do(world, workflow_id)
    assert isinstance(outcome, Done)
    with world.connect() as connection:
        assert personal_data.count(connection, "shop", "ada")["digest_device"] == 1
        personal_data.erase(connection, "shop", "ada")
        assert not any(personal_data.count(connection, "shop", "ada").values())
    with world.begin() as tx:
        parts = [*digest_devices([(workflow_id, 0)], tx), *digest_others([workflow_id], tx)]
        parts += record_digests(
            [[{"workflow_id": str(workflow_id), "devices": 1, "logins": 1}]], tx
        )
    assert all(isinstance(part, Failed) and isinstance(part.error, Refused) for part in parts)
    mailer = Mailer()
    failed = deliver_notice(UUID(outcome.notices[0]), world.directly, _senders(world, mailer))
    assert isinstance(failed, Failed)
    assert mailer.mails == []


def test_a_login_that_is_stored_again_stays_in_its_day(world: World) -> None:
    """A replay after its digest begins none of the same day."""
    login = _saved(world)
    assert len(_told(world)) == 1
    checks = world.check(login)
    with world.begin() as tx:
        save_events(checks, tx, world.networks)
    assert _begin(world) == []
    assert world.rows("SELECT count(*) FROM digest") == [(1,)]


def _of_day(
    world: World, day: date | None, user: str = "ada", now: datetime = DUE
) -> tuple[UUID, Sequence[Message]]:
    with world.connect() as connection:
        return begin_of_day(connection, "shop", user, day, _plan, now)


def test_one_that_is_asked_for_is_the_one_of_its_day(world: World) -> None:
    """Before its hour, and however often; yesterday's when no day is said."""
    _saved(world)
    begun, messages = _of_day(world, None, now=DUE - timedelta(hours=3))
    assert len(messages) == 2
    assert _of_day(world, SATURDAY) == (begun, ())
    assert _begin(world) == []


def test_one_that_was_dropped_can_be_asked_for(world: World) -> None:
    """The sign-ins are still there."""
    _saved(world)
    assert _begin(world, DUE + timedelta(hours=25)) == []
    begun, _ = _of_day(world, SATURDAY, now=DUE + timedelta(days=2))
    assert isinstance(_do(world, begun), Done)


def test_what_cannot_be_sent_is_refused_with_its_reason(world: World) -> None:
    """A day that is not over, one without sign-ins, users who want no mails, tenants who want none."""
    _saved(world)
    with pytest.raises(DayNotOver, match="2026-03-29 is not over yet"):
        _of_day(world, SATURDAY + timedelta(days=1))
    with pytest.raises(Refused, match="no sign-in of 2026-03-27"):
        _of_day(world, SATURDAY - timedelta(days=1))
    with pytest.raises(Refused, match="no sign-in"):
        _of_day(world, None, user="nobody")
    _unsubscribed(world)
    with pytest.raises(Refused, match="has unsubscribed"):
        _of_day(world, SATURDAY)
    _without_digests(world)
    with pytest.raises(Refused, match=r"digest: \{hour: 8\}"):
        _of_day(world, SATURDAY)
    assert world.rows("SELECT workflow_id FROM digest") == [(None,)]


def test_two_who_ask_at_one_moment_have_one(world: World) -> None:
    """The second waits for the first, and is told of its workflow."""
    _saved(world)
    with ThreadPoolExecutor(4) as threads:
        found = {*threads.map(lambda _: _of_day(world, SATURDAY)[0], range(4))}
    assert len(found) == 1


def test_what_is_due_is_found_by_an_index(world: World) -> None:
    """A turn every ten seconds reads no table through."""
    with world.connect() as connection:
        connection.execute("SET enable_seqscan = off")
        plan_of = connection.execute(
            "EXPLAIN SELECT FROM digest WHERE workflow_id IS NULL AND due_at <= now() ORDER BY due_at LIMIT 200"
        ).fetchall()
    assert "digest_due" in str(plan_of)
