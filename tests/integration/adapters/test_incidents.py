"""A switch is turned on for many users once each, can be stopped, and is taken back exactly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import pytest

from services import incidents, personal_data
from services.adapters.postgres import PostgresTransaction
from services.domain.errors import Refused, Unavailable
from services.domain.incident import Slice
from services.domain.network import Network
from services.domain.outcome import Done, Failed
from services.domain.policy import DEFAULT, Policy
from services.handlers.deliver_notice import deliver_notice
from services.handlers.lock_down import notify_switched, switch_back, switch_users
from services.handlers.records import Flip
from services.handlers.settle_notice import record_receipts, try_next_channels
from services.incidents import Lockdown
from services.ledger.planning import Plan
from tests.integration.adapters.conftest import World
from tests.support.fleet import wait_until

USERS = ("ada", "bob", "eve")
ALL = 10
SWITCHES = "SELECT user_id, is_on, expires_at FROM switch WHERE name = 'locked' ORDER BY user_id"
FLIPS = "SELECT user_id, is_on, actor FROM switch_change WHERE incident_id = %s ORDER BY id"


def _lockdown(**facts: Any) -> Lockdown:
    wanted = Lockdown("shop", "locked", "stolen passwords", "ops@desk", USERS)
    return replace(wanted, **facts)


def _no_steps(*_: object) -> Plan:
    """The test does what they would do."""
    return Plan(())


def _begin(world: World, **facts: Any) -> Slice:
    """An incident about users who have logged in; gives all of its users."""
    _whose(world)
    with world.connect() as connection:
        wanted = _lockdown(**facts)
        expected = incidents.expect(connection, wanted)
        incident_id, _ = incidents.begin(connection, wanted, expected, _no_steps)
    return Slice(incident_id, 0, ALL)


def _whose(world: World) -> None:
    world.rows(
        "UPDATE workflow SET user_id = r.user_id FROM reported_login AS r WHERE r.workflow_id = workflow.id"
    )


def _undo(world: World, users: Slice) -> Any:
    with world.connect() as connection:
        assert incidents.stop(connection, users.incident_id, None, "eve@desk", is_undo=True)
    with world.connect() as connection:
        incidents.begin_undo(connection, users.incident_id, "eve@desk", _no_steps)
    return _do(world, switch_back, users)


def _do(world: World, handler: Any, users: Slice) -> Any:
    with world.begin() as tx:
        (outcome,) = handler([users], tx)
    return outcome.result if isinstance(outcome, Done) else outcome


def _counts(world: World, users: Slice) -> dict[str, int]:
    """Those that are not zero."""
    with world.connect() as connection:
        found = incidents.find(connection, users.incident_id)
    assert found is not None
    return {name: count for name, count in found["counts"].items() if count}


@pytest.fixture
def users(world: World) -> World:
    """The world with three users who have logged in."""
    for user in USERS:
        world.saved(user_id=user)
    return world


def test_each_switch_is_turned_on_once(users: World) -> None:
    """However often a step's message comes; each flip is audited with the incident and who began it."""
    whom = _begin(users, expire_seconds=3600.0)
    assert _do(users, switch_users, whom) == {"switched": 3}
    flips = [(user, True, "ops@desk") for user in USERS]
    assert users.rows(FLIPS, whom.incident_id) == flips
    assert _do(users, switch_users, whom) == {"switched": 0}
    assert users.rows(FLIPS, whom.incident_id) == flips
    assert all(is_on and expires_at for _, is_on, expires_at in users.rows(SWITCHES))
    assert _counts(users, whom) == {"users": 3, "switched": 3}


def test_a_commit_that_was_cut_leaves_nothing_of_it(users: World) -> None:
    """Neither switch nor audit row nor what was kept of it: the step that comes again does it all."""
    whom = _begin(users)
    with users.connect() as connection:
        assert switch_users([whom], PostgresTransaction(connection)) == [Done({"switched": 3})]
        connection.rollback()
    assert (users.rows(SWITCHES), _counts(users, whom)) == ([], {"users": 3, "waiting": 3})
    assert _do(users, switch_users, whom) == {"switched": 3}
    assert len(users.rows(FLIPS, whom.incident_id)) == 3


def test_the_application_hears_of_each_flip_and_of_its_incident(users: World) -> None:
    """On and off, as of every flip; one event each."""
    users.give_webhook("https://shop.example/hook")
    whom = _begin(users)
    _do(users, switch_users, whom)
    _undo(users, whom)
    told = users.rows("SELECT user_id, data - 'changed_at' FROM application_event")
    said = {"switch": "locked", "by": "incident", "incident_id": str(whom.incident_id)}
    for user in USERS:
        heard = [data for each, data in told if each == user]
        assert sorted(heard, key=lambda data: data["is_on"]) == [
            said | {"is_on": False},
            said | {"is_on": True},
        ]


@pytest.mark.parametrize(("switch", "spared"), [("locked", ["bob"]), ("require_step_up", [])])
def test_who_is_never_locked_is_skipped_and_named(
    users: World, switch: str, spared: list[str]
) -> None:
    """As of a verdict: asked for a second factor at most. Who was never seen is skipped, too."""
    _set_policy(users, replace(DEFAULT, never_lock=frozenset({"bob"})))
    whom = _begin(users, switch=switch, users=[*USERS, "nobody"])
    _do(users, switch_users, whom)
    on = users.rows("SELECT user_id FROM switch WHERE name = %s AND is_on ORDER BY 1", switch)
    assert [user for (user,) in on] == [user for user in USERS if user not in spared]
    with users.connect() as connection:
        found = incidents.find(connection, whom.incident_id)
    assert found is not None
    assert found["skipped"] == {"unknown": ["nobody"]} | (
        {"never_locked": spared} if spared else {}
    )
    assert found["counts"]["never_locked"] == len(spared)
    told = _do(users, notify_switched, whom)
    assert told == {"notices": 3 - len(spared)}


def test_stopped_before_it_began_nothing_is_done(users: World) -> None:
    """The step ends all the same, and says so; nobody is told."""
    whom = _begin(users)
    _stop(users, whom)
    for handler in (switch_users, notify_switched):
        assert _do(users, handler, whom) == {"stopped": True}
    assert (users.rows(SWITCHES), _counts(users, whom)) == ([], {"users": 3, "waiting": 3})


def test_a_step_that_is_at_it_sees_the_stop_between_two_slices(users: World) -> None:
    """Saying it waits for no step, and does not come back before the step has ended."""
    whom = _begin(users)
    first, rest = replace(whom, last=1), replace(whom, first=1)
    with ThreadPoolExecutor(1) as threads:
        with users.begin() as tx:
            assert switch_users([first], tx) == [Done({"switched": 1})]
            _stop(users, whom)
            shutting = threads.submit(_shut, users, whom)
            wait_until(lambda: _is_waiting(users), 10, "the stop waits for the step")
            assert switch_users([rest], tx) == [Done({"stopped": True})]
        assert shutting.result(10)
    assert _counts(users, whom) == {"users": 3, "switched": 1, "waiting": 2}


def test_a_stop_does_not_wait_for_a_step_that_stands_still(users: World) -> None:
    """It is said after two seconds; and nothing is taken back while a step may still turn switches on."""
    whom = _begin(users)
    with users.begin() as tx:
        switch_users([replace(whom, last=1)], tx)
        _stop(users, whom)
        assert not _shut(users, whom)
        with users.connect() as connection, pytest.raises(Unavailable):
            incidents.begin_undo(connection, whom.incident_id, "eve@desk", _no_steps)
    assert _shut(users, whom)


def test_exactly_what_it_turned_on_is_taken_back(users: World) -> None:
    """Not what was on before, and not what somebody has turned off, or off and on, since."""
    for user in ("dan", "fay"):
        users.saved(user_id=user)
    _flip(users, "ada")
    whom = _begin(users, users=[*USERS, "dan", "fay"])
    _do(users, switch_users, whom)
    assert _counts(users, whom) == {"users": 5, "on_before": 1, "switched": 4}
    for is_on in (False, True):
        users.rows(
            "UPDATE switch SET is_on = %s, changed_at = clock_timestamp() WHERE user_id = 'bob'",
            is_on,
        )
    users.rows("UPDATE switch SET is_on = false, changed_at = now() WHERE user_id = 'dan'")
    assert _undo(users, whom) == {"undone": 2}
    on = [(user, is_on) for user, is_on, _ in users.rows(SWITCHES)]
    assert on == [("ada", True), ("bob", True), ("dan", False), ("eve", False), ("fay", False)]
    flips = [(user, is_on) for user, is_on, _ in users.rows(FLIPS, whom.incident_id)]
    assert [user for user, is_on in flips if not is_on] == ["eve", "fay"]
    assert _undo(users, whom) == {"undone": 0}
    assert len(users.rows(FLIPS, whom.incident_id)) == len(flips)
    assert _counts(users, whom) == {"users": 5, "on_before": 1, "changed_since": 2, "undone": 2}
    # What was given up and is replayed now turns nothing on.
    assert _do(users, switch_users, whom) == {"stopped": True}


def test_a_switch_that_would_have_gone_off_does_so_later_and_after_the_undo_as_before(
    users: World,
) -> None:
    """It is no flip, and nobody hears of it; a verdict that has prolonged it since is somebody else's change."""
    soon = datetime.now(UTC) + timedelta(minutes=5)
    for user in ("ada", "bob"):
        _flip(users, user, 300.0)
        users.rows("UPDATE switch SET expires_at = %s WHERE user_id = %s", soon, user)
    whom = _begin(users, users=["ada", "bob"], expire_seconds=3600.0)
    assert _do(users, switch_users, whom) == {"switched": 0}
    assert _do(users, notify_switched, whom) == {"notices": 0}
    assert _counts(users, whom) == {"users": 2, "prolonged": 2}
    assert all(expires_at > soon for _, _, expires_at in users.rows(SWITCHES))
    _flip(users, "bob", 7200.0)
    assert _undo(users, whom) == {"undone": 1}
    [ada, bob] = users.rows(SWITCHES)
    assert ada == ("ada", True, soon)
    assert bob[2] > soon
    assert users.rows(FLIPS, whom.incident_id) == []


def test_a_switch_whose_time_is_over_is_turned_on_anew(users: World) -> None:
    """It is off by then, whether or not anybody has noted that."""
    _flip(users, "ada", 300.0)
    users.rows("UPDATE switch SET expires_at = now() - interval '1 second'")
    whom = _begin(users, users=["ada"])
    assert _do(users, switch_users, whom) == {"switched": 1}
    reasons = users.rows("SELECT is_on, reason FROM switch_change ORDER BY id")
    assert reasons[1:] == [(False, "expired"), (True, "stolen passwords")]


def test_users_are_told_once_by_way_of_their_last_login_with_an_address(users: World) -> None:
    """However often the step's message comes; another incident is told of as well, without a login in between."""
    users.saved(user_id="ada", email=None)
    for _ in range(2):
        whom = _begin(users)
        _do(users, switch_users, whom)
        with users.begin() as tx:
            (outcome,) = notify_switched([whom], tx)
        assert isinstance(outcome, Done)
        assert len(outcome.notices) == 3
        assert _do(users, notify_switched, whom) == {"notices": 0}
        _undo(users, whom)
    reasons = "SELECT user_id, reason, channel FROM notice ORDER BY user_id"
    assert users.rows(reasons) == [(user, "lockdown", "email") for user in USERS for _ in range(2)]
    with users.begin() as tx:
        notice = tx.notice(UUID(outcome.notices[0]))
    assert notice is not None
    assert (notice.incident_id, notice.switches) == (whom.incident_id, ["locked"])
    assert notice.email is not None


@pytest.mark.parametrize("queue", [None, "bulk_notices"])
def test_notices_wait_where_their_incident_wants_it(users: World, queue: str | None) -> None:
    """Also those of the next channel, when the first does not take them."""
    users.give_webhook("https://shop.example/hook")
    whom = _begin(users, notices_onto=queue)
    _do(users, switch_users, whom)
    with users.begin() as tx:
        (outcome,) = notify_switched([whom], tx)
    assert isinstance(outcome, Done)
    assert (len(outcome.notices), outcome.onto) == (3, queue)
    with users.begin() as tx:
        followed = try_next_channels([UUID(notice) for notice in outcome.notices], tx)
    assert [(len(it.notices), it.onto) for it in followed if isinstance(it, Done)] == [
        (1, queue)
    ] * 3


def test_of_too_many_incidents_users_are_not_told(users: World) -> None:
    """No more mails an hour than the policy has; nothing is told of in another mail later."""
    _set_policy(users, replace(DEFAULT, mails_per_hour=1))
    for expected in (3, 0):
        whom = _begin(users)
        _do(users, switch_users, whom)
        assert _do(users, notify_switched, whom) == {"notices": expected}
        _undo(users, whom)
    assert users.rows("SELECT count(*) FROM folded_notice") == [(0,)]


def test_notices_that_were_not_sent_are_withdrawn(users: World) -> None:
    """By a stop and by an undo; one that has left, has."""
    whom = _begin(users)
    _do(users, switch_users, whom)
    _do(users, notify_switched, whom)
    users.rows("UPDATE notice SET state = 'sent' WHERE user_id = 'ada'")
    _stop(users, whom)
    assert _shut(users, whom)
    states = users.rows("SELECT state FROM notice ORDER BY user_id")
    assert states == [("sent",), ("superseded",), ("superseded",)]


def test_a_notice_that_was_recorded_is_not_sent_after_a_stop(users: World) -> None:
    """However late its step came: it ends without a call, and without another try."""
    whom = _begin(users)
    _do(users, switch_users, whom)
    with users.begin() as tx:
        (outcome,) = notify_switched([whom], tx)
        _stop(users, whom)
    assert isinstance(outcome, Done)
    for notice in outcome.notices:
        sent = deliver_notice(UUID(notice), users.directly, {})
        assert isinstance(sent, Done)
        with users.begin() as tx:
            record_receipts([(UUID(notice), sent.result["receipt"])], tx)
    assert users.rows("SELECT DISTINCT state FROM notice") == [("superseded",)]
    assert users.rows("SELECT count(*) FROM receipt") == [(0,)]


def test_those_who_signed_in_from_a_network_since_then(users: World) -> None:
    """Each once; not those of another network, of an earlier time, or of another tenant."""
    at = datetime.now(UTC)
    for user, ip, hours in (
        ("gil", "198.51.100.7", 1),
        ("gil", "198.51.100.8", 0),
        ("hal", "198.51.100.9", 3),
        ("ida", "198.51.101.7", 0),
    ):
        users.saved(user_id=user, ip=ip, occurred_at=at - timedelta(hours=hours))
    query = {
        "users": None,
        "network": ip_network("198.51.100.0/24"),
        "since": at - timedelta(hours=2),
    }
    whom = _begin(users, **query)
    assert users.rows("SELECT user_id FROM incident_user") == [("gil",)]
    assert _do(users, switch_users, whom) == {"switched": 1}


class Map:
    """What is known of some addresses."""

    def of(self, ip: str) -> Network:
        return {
            "198.51.100.7": Network("NL", 64500, "Example Net"),
            "198.51.100.8": Network("NL", 64501),
            "192.0.2.9": Network("DE", 64500),
        }.get(ip, Network())


@pytest.fixture
def travellers(users: World) -> World:
    """Users from several places, some of which nobody knows."""
    users.networks = Map()
    at = datetime.now(UTC)
    for user, ip, hours in (
        ("gil", "198.51.100.7", 1),
        ("hal", "198.51.100.8", 1),
        ("ida", "192.0.2.9", 1),
        ("ida", "198.51.100.8", 0),
        ("jan", "198.51.100.7", 3),
        ("kim", "203.0.113.7", 1),
        ("max", "198.51.100.7", 1),
    ):
        users.saved(user_id=user, ip=ip, occurred_at=at - timedelta(hours=hours))
    users.rows("INSERT INTO tenant (id, name) VALUES ('bank', 'The Bank')")
    for table in ("workflow", "reported_login", "login"):
        whose = "reported_login" if table == "workflow" else table
        users.rows(
            f"UPDATE {table} AS it SET tenant_id = 'bank' FROM {whose} AS their WHERE their.user_id = 'max'"
            f" AND their.workflow_id = it.{'id' if table == 'workflow' else 'workflow_id'}"
        )
    return users


@pytest.mark.parametrize(
    ("places", "chosen"),
    [
        ({"asn": 64500}, ["gil", "ida"]),
        ({"country": "NL"}, ["gil", "hal", "ida"]),
        ({"asn": 64500, "country": "NL"}, ["gil"]),
        ({"asn": 64501, "network": ip_network("198.51.100.0/24")}, ["hal", "ida"]),
        ({"country": "DE", "network": ip_network("192.0.2.0/24")}, ["ida"]),
        (
            {"asn": 64500, "country": "NL", "network": ip_network("198.51.100.7/32")},
            ["gil"],
        ),
    ],
)
def test_those_who_signed_in_from_a_provider_or_a_country(
    travellers: World, places: dict[str, Any], chosen: list[str]
) -> None:
    """All that is said holds of one login since then; the incident keeps what was said."""
    since = datetime.now(UTC) - timedelta(hours=2)
    whom = _begin(travellers, users=None, since=since, **places)
    assert [
        user for (user,) in travellers.rows("SELECT user_id FROM incident_user ORDER BY 1")
    ] == chosen
    with travellers.connect() as connection:
        found = incidents.find(connection, whom.incident_id)
    assert found is not None
    assert {name: found[name] for name in ("asn", "country", "since")} == {
        "asn": places.get("asn"),
        "country": places.get("country"),
        "since": since,
    }


def test_who_signed_in_from_nobody_knows_where_is_counted(travellers: World) -> None:
    """Whose login is not stored yet, or was by a release that did not look; a network still sorts some out."""
    at = datetime.now(UTC)
    travellers.report("lea", ip="198.51.100.20", occurred_at=at)
    travellers.report("gil", ip="198.51.100.20", occurred_at=at)
    travellers.saved(user_id="ned", ip="192.0.2.20", occurred_at=at)
    travellers.rows("UPDATE login SET country = NULL, asn = NULL WHERE user_id = 'ned'")
    wanted = _lockdown(users=None, asn=64500, since=at - timedelta(hours=2))
    near = replace(wanted, network=ip_network("198.51.100.0/24"))
    with travellers.connect() as connection:
        found = [incidents.expect(connection, it) for it in (wanted, near)]
    assert [(list(it.outcomes), it.unplaced) for it in found] == [(["gil", "ida"], 2), (["gil"], 1)]
    assert found[0].to_document()["unplaced"] == 2


def test_where_no_provider_is_known_it_is_said(users: World) -> None:
    """Nobody would be the wrong answer; where some are known it is nobody, or perhaps one of those on their way."""
    users.report("kim", occurred_at=datetime.now(UTC))
    wanted = _lockdown(users=None, asn=64500, since=datetime.now(UTC) - timedelta(hours=2))
    with users.connect() as connection:
        with pytest.raises(incidents.Unfit, match="DOORBELL_NETWORK_DATABASES") as refused:
            incidents.expect(connection, wanted)
        assert refused.value.field == "asn"
    users.networks = Map()
    users.saved(user_id="gil", ip="198.51.100.8")
    nobody = r"nobody signed in from there since then \(1 from nobody knows where\)"
    with users.connect() as connection, pytest.raises(incidents.Unfit, match=nobody):
        incidents.expect(connection, wanted)


def test_a_network_that_is_not_kept_in_such_detail_is_refused(users: World) -> None:
    """Addresses of old logins lose their last part: the answer would be nobody."""
    users.rows(
        "UPDATE retention SET done_until = now() - interval '1 day' WHERE what = 'addresses'"
    )
    since = datetime.now(UTC) - timedelta(days=2)
    narrow = _lockdown(users=None, network=ip_network("203.0.113.7/32"), since=since)
    with users.connect() as connection, pytest.raises(incidents.Unfit, match="/24") as refused:
        incidents.expect(connection, narrow)
    assert refused.value.field == "network"


@pytest.mark.parametrize("whom", [("nobody", "none"), None])
def test_about_nobody_it_does_not_begin(users: World, whom: Sequence[str] | None) -> None:
    """The field is named."""
    wanted = _lockdown(users=whom, network=ip_network("192.0.2.0/24"), since=datetime.now(UTC))
    with users.connect() as connection, pytest.raises(incidents.Unfit) as refused:
        incidents.expect(connection, wanted)
    assert refused.value.field == ("users" if whom else "network")


def test_a_look_before_changes_nothing_and_says_what_will_be(users: World) -> None:
    """The same counts as afterwards."""
    _set_policy(users, replace(DEFAULT, never_lock=frozenset({"bob"})))
    users.saved(user_id="dan")
    _whose(users)
    _flip(users, "ada")
    wanted = _lockdown(users=[*USERS, "dan", "nobody"])
    before = users.rows("SELECT count(*) FROM switch_change")
    with users.connect() as connection:
        found = incidents.expect(connection, wanted).to_document()
    assert found["first"] == ["eve", "dan"]
    assert found["skipped"] == {"never_locked": ["bob"], "unknown": ["nobody"]}
    assert users.rows("SELECT count(*) FROM switch_change") == before
    assert users.rows("SELECT count(*) FROM incident") == [(0,)]
    whom = _begin(users, users=wanted.users)
    _do(users, switch_users, whom)
    expected = {name: count for name, count in found["counts"].items() if count}
    assert expected.pop("waiting") == 2
    assert _counts(users, whom) == expected | {"switched": 2}


def test_an_erased_user_is_in_no_incident(users: World) -> None:
    """The others of it are done all the same; the user's switch is not turned on again."""
    whom = _begin(users)
    with users.connect() as connection:
        assert personal_data.erase(connection, "shop", "bob")["incident_user"] == 1
    assert _do(users, switch_users, whom) == {"switched": 2}
    assert [user for user, *_ in users.rows(SWITCHES)] == ["ada", "eve"]


def test_what_is_gone_is_refused(users: World) -> None:
    """Its workflow went after as long as workflows are kept, and the incident with it."""
    whom = _begin(users)
    users.rows("DELETE FROM workflow WHERE id = %s", whom.incident_id)
    assert users.rows("SELECT count(*) FROM incident_user") == [(0,)]
    outcome = _do(users, switch_users, whom)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, Refused)


def _set_policy(world: World, policy: Policy) -> None:

    world.rows("UPDATE tenant SET policy = %s", json.dumps(policy.to_document()))


def _flip(world: World, user: str, expire_seconds: float | None = None) -> None:
    """A verdict turns the switch on, or has it stay on for longer."""
    workflow_id = world.report(user_id=user).workflow_id
    with world.begin() as tx:
        tx.turn_on([Flip("shop", user, "locked", workflow_id, "a verdict", 0.0, expire_seconds)])


def _stop(world: World, users: Slice) -> None:
    """Said, as also when the incident has steps that are not done."""
    with world.connect() as connection:
        incidents.stop(connection, users.incident_id, None, "eve@desk", is_undo=True)


def _shut(world: World, users: Slice) -> bool:
    with world.connect() as connection:
        return incidents.shut(connection, users.incident_id)


def _is_waiting(world: World) -> bool:
    locks = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    return world.rows(locks) == [(True,)]
