"""Looking devices up on a real PostgreSQL, also from several transactions at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest

from services.adapters.postgres import PostgresTransaction
from services.domain.errors import Refused
from services.domain.model import DeviceCheck, Login
from services.domain.outcome import Done, Failed
from services.handlers.check_device import check_devices, check_reported
from services.handlers.fingerprint import describe_families
from services.handlers.save_event import save_events
from services.queries import load_queries
from tests.integration.adapters.conftest import AT, FIREFOX, SAFARI, World
from tests.support.postgres import PrivatePostgres

HOME, AT_WORK, ABROAD = "84.56.1.2", "141.20.5.6", "8.8.8.8"
"""Two networks of Germany and one of the United States, by the registries."""


def _at_once(world: World, *lists: list[Login]) -> list[DeviceCheck]:
    """Check each list in a thread and a transaction of its own, all starting together."""
    start = threading.Barrier(len(lists))

    def check(logins: list[Login]) -> list[DeviceCheck]:
        with world.begin() as tx:
            start.wait(10)
            outcomes = check_devices(logins, tx, world.networks)
        return [DeviceCheck.from_message(o.result) for o in outcomes if isinstance(o, Done)]

    with ThreadPoolExecutor(len(lists)) as threads:
        return [check for checks in threads.map(check, lists) for check in checks]


def test_a_device_is_new_once(world: World) -> None:
    """The first login on a device is told so, the next one is not."""
    first, second = world.check(world.report())[0], world.check(world.report())[0]
    assert (first.is_new, first.is_first) == (True, True)
    assert (second.is_new, second.is_first) == (False, False)
    assert first.device_id == second.device_id


def test_a_second_device_is_new_but_not_the_first(world: World) -> None:
    """Only a user's very first device counts as first."""
    check = world.on_second_device()
    assert (check.is_new, check.is_first) == (True, False)


def test_a_redelivered_workflow_gets_its_answer_again(world: World) -> None:
    """The same workflow is told the same after other logins on its device."""
    login = world.report()
    first = world.check(login)
    world.check(world.report())
    assert world.check(login) == first


def test_in_one_list_the_earliest_login_brings_the_device(world: World) -> None:
    """Of several logins on one new device in a list, one is told that it is new."""
    late, early = world.report(occurred_at=AT + timedelta(hours=1)), world.report()
    checks = world.check(late, early)
    assert [check.is_new for check in checks] == [False, True]
    assert world.rows("SELECT first_seen_at, last_seen_at FROM device") == [
        (early.occurred_at, late.occurred_at)
    ]


def test_in_one_list_one_device_is_the_users_first(world: World) -> None:
    """Two new devices of a new user in one list: both new, one of them first."""
    checks = world.check(world.report(), world.report(user_agent=SAFARI))
    assert [check.is_new for check in checks] == [True, True]
    assert sorted(check.is_first for check in checks) == [False, True]


@pytest.mark.parametrize("round_", range(5))
def test_the_same_new_device_twice_at_once_is_new_once(world: World, round_: int) -> None:
    """Of concurrent transactions that see the same new device, one is told that it is new."""
    checks = _at_once(world, *([world.report()] for _ in range(6)))
    assert sorted(check.is_new for check in checks) == [False] * 5 + [True]
    assert len({check.device_id for check in checks}) == 1


@pytest.mark.parametrize("round_", range(5))
def test_two_new_devices_at_once_are_not_both_first(world: World, round_: int) -> None:
    """A second device cannot slip through unannounced beside the user's first."""
    checks = _at_once(world, [world.report()], [world.report(user_agent=SAFARI)])
    assert [check.is_new for check in checks] == [True, True]
    assert sorted(check.is_first for check in checks) == [False, True]


def test_lists_in_opposite_order_do_not_deadlock(world: World) -> None:
    """Concurrent lists with the same users in any order all commit."""
    users = [f"user-{number}" for number in range(30)]
    logins = {user: world.report(user) for user in users}
    for _ in range(5):
        forwards = [logins[user] for user in users]
        _at_once(world, forwards, forwards[::-1], forwards[15:] + forwards[:15], forwards[::-1])
    assert world.rows("SELECT count(*) FROM device WHERE first_of_user") == [(30,)]


def test_seeing_a_device_holds_up_no_login_that_names_it(world: World) -> None:
    """A login is stored although another transaction has seen its device and goes on for long."""
    check = world.check(world.report())[0]
    again = world.report()
    with world.connect() as seeing:
        tx = PostgresTransaction(seeing)
        check_reported([again.workflow_id], tx, world.networks)
        with world.connect() as saving:
            saving.execute("SET lock_timeout = '200ms'")
            save_events([check], PostgresTransaction(saving), world.networks)
    assert world.rows("SELECT device_id FROM login") == [(check.device_id,)]


def test_a_login_that_was_erased_is_refused_alone(world: World) -> None:
    """A workflow without its login fails by itself, and names itself."""
    login, gone = world.report(), uuid4()
    with world.begin() as tx:
        missing, found = check_reported([gone, login.workflow_id], tx, world.networks)
    assert isinstance(found, Done)
    assert isinstance(missing, Failed)
    assert isinstance(missing.error, Refused)
    assert str(gone) in str(missing.error)


def test_a_login_is_stored_once(world: World) -> None:
    """Saving again says saved and adds no row."""
    check = world.check(world.report())[0]
    for _ in range(2):
        with world.begin() as tx:
            outcomes = save_events([check], tx, world.networks)
        assert outcomes == [
            Done(
                {
                    "workflow_id": str(check.workflow_id),
                    "saved": True,
                    "device_id": str(check.device_id),
                    "new_device": True,
                }
            )
        ]
    assert world.rows("SELECT count(*) FROM login") == [(1,)]


def test_a_login_is_stored_with_what_is_known_of_its_network(world: World) -> None:
    """For good: what is known later does not change it. Nothing known is not the same as never looked."""
    known, unknown = world.saved(ip="8.8.8.8"), world.saved(ip="203.0.113.7")
    stored = "SELECT workflow_id, country, asn, provider FROM login"
    for _ in range(2):
        assert sorted(world.rows(stored)) == sorted(
            [(known.workflow_id, "US", 0, ""), (unknown.workflow_id, "", 0, "")]
        )
        world.rows("UPDATE reported_login SET ip = '9.9.9.9'")
        checks = world.check(known, unknown)
        with world.begin() as tx:
            save_events(checks, tx, world.networks)


def test_postgresql_away_is_not_translated(postgres: PrivatePostgres) -> None:
    """The runner, not a handler, decides what a lost PostgreSQL means."""
    with postgres.database() as url:
        world = World(url)
        with psycopg.connect(world.url) as connection:
            tx = PostgresTransaction(connection)
            postgres.kill()
            with pytest.raises(psycopg.OperationalError):
                tx.logins([uuid4()])
            postgres.start()


def test_an_update_brings_no_device(world: World) -> None:
    """Another version of the same browser."""
    first = world.check(world.report())[0]
    updated = world.check(world.report(user_agent=FIREFOX.replace("143.0", "144.0")))[0]
    assert (updated.is_new, updated.device_id) == (False, first.device_id)


def test_a_cookie_that_comes_back_is_known_whatever_the_browser_says(world: World) -> None:
    """It was given in the answer to the first login, and stays when that login is gone."""
    given = world.saved(user_agent=SAFARI)
    desktop = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/18.6 Safari/605.1.15"
    [device] = world.rows("SELECT id FROM device")
    for _ in range(2):
        check = world.check(world.report(user_agent=desktop, cookie_id=given.workflow_id))[0]
        assert (check.is_new, check.device_id) == (False, device[0])
        world.rows("DELETE FROM login")
    assert world.rows("SELECT cookie_id, device_id FROM device_cookie") == [
        (given.workflow_id, device[0])
    ]


def test_a_copied_cookie_brings_a_device_and_stays_where_it_was(world: World) -> None:
    """Neither browser nor system are those of the device that was given it."""
    given = world.saved()
    [device] = world.rows("SELECT id FROM device")
    thief = world.check(world.report(user_agent=SAFARI, cookie_id=given.workflow_id))[0]
    assert thief.is_new
    assert thief.device_id != device[0]
    assert world.rows("SELECT device_id FROM device_cookie") == [device]


def test_anothers_cookie_is_worth_nothing(world: World) -> None:
    """Two people at one browser: each has a device of their own there, and both keep the cookie."""
    given = world.saved()
    bobs = world.check(world.report("bob", cookie_id=given.workflow_id))[0]
    assert (bobs.is_new, bobs.is_first) == (True, True)
    again = world.check(
        world.report(
            "bob", user_agent=FIREFOX.replace("143.0", "144.0"), cookie_id=given.workflow_id
        )
    )[0]
    assert again.device_id == bobs.device_id
    world.check(world.report(cookie_id=given.workflow_id))
    assert world.rows("SELECT user_id FROM device_cookie ORDER BY user_id") == [("ada",), ("bob",)]


def test_a_cookie_that_nobody_knows_leaves_it_to_the_browser(world: World) -> None:
    """Its login is long gone: the device is known by its traits, and has the cookie from then on."""
    first = world.check(world.report())[0]
    cookie = uuid4()
    second = world.check(world.report(cookie_id=cookie))[0]
    assert second.device_id == first.device_id
    assert world.rows("SELECT cookie_id, device_id FROM device_cookie") == [
        (cookie, first.device_id)
    ]


@pytest.mark.parametrize("agent", [SAFARI, "AnApp/3.2", "", "Mozilla/5.0 (PlayStation 4 3.11)"])
def test_a_device_of_an_earlier_release_is_known(world: World, agent: str) -> None:
    """By its words for people at first, and then by all that it says; others of the same words are others."""
    first = world.check(world.report(user_agent=agent))[0]
    world.rows(
        "UPDATE device SET browser = NULL, products = NULL, system = NULL, model = NULL,"
        " fingerprint = 'cookie:1', description = %s",
        describe_families(agent),
    )
    assert world.check(world.report())[0].is_new
    for _ in range(2):
        assert world.check(world.report(user_agent=agent))[0].device_id == first.device_id
    assert world.check(world.report(user_agent=f"{agent} AnotherApp/1"))[0].is_new


def test_the_first_sign_in_is_told_where_others_came_before(world: World) -> None:
    """A second factor that was checked first, or whose sign-in was never reported, blesses no device."""
    world.check(world.report(user_agent=SAFARI))
    factor = world.report(kind="second_factor")
    assert world.check(factor)[0].is_new
    login = world.report(occurred_at=AT + timedelta(seconds=1))
    for _ in range(2):
        check = world.check(login)[0]
        assert (check.is_new, check.is_first) == (True, False)
    assert not world.check(factor)[0].is_new
    assert not world.check(world.report())[0].is_new


def test_in_one_list_too(world: World) -> None:
    """Together with its second factor, a sign-in is told once."""
    world.check(world.report(user_agent=SAFARI))
    login = world.report(occurred_at=AT + timedelta(seconds=1))
    again = world.report(occurred_at=AT + timedelta(seconds=2))
    checks = world.check(again, login, world.report(kind="reauthentication"))
    assert [check.is_new for check in checks] == [False, True, False]
    assert not world.check(again)[0].is_new


def test_a_redelivered_workflow_gets_its_answer_again_wherever_others_have_been(
    world: World,
) -> None:
    """Two devices that look the same, of which the other one was seen last."""
    world.check(world.report(ip=HOME))
    abroad = world.report(ip=ABROAD, occurred_at=AT + timedelta(hours=1))
    first = world.check(abroad)[0]
    world.check(world.report(ip=HOME, occurred_at=AT + timedelta(hours=2)))
    world.rows(
        "UPDATE device SET last_seen_at = last_seen_at + interval '1 day' WHERE id <> %s",
        first.device_id,
    )
    assert world.check(abroad)[0] == first


def test_of_many_devices_the_same_one_is_found(world: World) -> None:
    """Also when more than a hundred of its browser were seen since."""
    android = "Mozilla/5.0 (Linux; Android 13; Pixel {}) AppleWebKit/537.36 Chrome/109.0 Mobile"
    first = world.check(world.report(user_agent=android.format(1)))[0]
    later = [
        world.report(user_agent=android.format(n), occurred_at=AT + timedelta(seconds=n))
        for n in range(2, 140)
    ]
    assert all(check.is_new for check in world.check(*later))
    assert world.check(world.report(user_agent=android.format(1)))[0].device_id == first.device_id


def test_the_same_browser_in_another_country_is_another_device(world: World) -> None:
    """Once: from then on the country is known, and so it stays when the user is home again."""
    home = world.check(world.report(ip=HOME))[0]
    abroad = world.check(world.report(ip=ABROAD, occurred_at=AT + timedelta(hours=1)))[0]
    assert (abroad.is_new, abroad.is_first) == (True, False)
    assert abroad.device_id != home.device_id
    assert not any(world.check(world.report(ip=ip))[0].is_new for ip in (ABROAD, HOME, AT_WORK))


@pytest.mark.parametrize("name", ["forget_device", "forget_network"])
def test_what_was_disowned_is_new_again(world: World, name: str) -> None:
    """Also where only one of the two is forgotten, as of a device that came to a network known before."""
    world.check(world.report(ip=HOME))
    stranger = world.report(ip=ABROAD, occurred_at=AT + timedelta(hours=1))
    [first] = world.check(stranger)
    forget = load_queries("services.gateway", "notices.sql")[name]
    with psycopg.connect(world.url) as connection:
        named = {"tenant": stranger.tenant_id, "user": stranger.user_id}
        connection.execute(forget.encode(), named | {"workflow": stranger.workflow_id})

    [again] = world.check(world.report(ip=ABROAD, occurred_at=AT + timedelta(hours=2)))

    assert (first.is_new, again.is_new, again.is_first) == (True, True, False)


def test_another_network_of_the_country_is_nothing_new(world: World) -> None:
    """Nor is one of which nothing is known."""
    first = world.check(world.report(ip=HOME))[0]
    for ip in (AT_WORK, "203.0.113.7", "10.0.0.1", "fd00::1"):
        assert world.check(world.report(ip=ip))[0].device_id == first.device_id


def test_a_cookie_counts_more_than_the_country(world: World) -> None:
    """Who takes the device along has it in hand."""
    given = world.saved(ip=HOME)
    check = world.check(world.report(ip=ABROAD, cookie_id=given.workflow_id))[0]
    assert not check.is_new
    assert world.rows(
        "SELECT country, first_workflow_id = %s FROM user_network ORDER BY country",
        given.workflow_id,
    ) == [("DE", True), ("US", False)]


def test_a_user_of_an_earlier_release_is_at_home_anywhere(world: World) -> None:
    """Nobody knows where they were."""
    world.check(world.report(ip=HOME))
    world.rows("DELETE FROM user_network")
    assert not world.check(world.report(ip=ABROAD))[0].is_new


def test_in_one_list_the_first_country_is_home(world: World) -> None:
    """The second one is news, also when both come together."""
    later = world.report(ip=ABROAD, occurred_at=AT + timedelta(hours=1))
    checks = world.check(later, world.report(ip=HOME))
    assert [(it.is_new, it.is_first) for it in checks] == [(True, False), (True, True)]
