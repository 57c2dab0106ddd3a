"""Hosts lose their power and networks part while logins come in: work goes on elsewhere, and nothing is lost."""

from __future__ import annotations

import json
import time

import pytest

from tests.e2e.waiting import wait_until
from tests.hosts.installation import GATEWAYS, Installation

pytestmark = pytest.mark.timeout(1200)

ELSEWHERE_SECONDS = 15.0
PROMOTED_SECONDS = 120.0

_BEFORE_SECONDS = 10.0
_AFTER_SECONDS = 45.0


@pytest.mark.parametrize("host", ["checks1", "calls1"])
def test_a_pools_host_is_lost(whole: Installation, host: str) -> None:
    """Within 15 s everything it had in hand, and all that comes, is done on the other host."""
    pools = whole.pools_of(host)
    with whole.under_load() as run:
        time.sleep(_BEFORE_SECONDS)
        whole.world.note("kill", *pools)
        at = whole.fleet.kill(host)
        time.sleep(_AFTER_SECONDS)
    run.expect_well()
    waited = run.longest_wait(pools, at)
    print(f"{host} lost: its work was done elsewhere within {waited:.1f} s")
    assert waited < ELSEWHERE_SECONDS


def test_a_gateways_host_is_lost(whole: Installation) -> None:
    """An application that asks again finds the other gateway within 15 s."""
    with whole.under_load() as run:
        time.sleep(_BEFORE_SECONDS)
        whole.world.note("kill", "gateway")
        at = whole.fleet.kill("gateway1")
        time.sleep(_AFTER_SECONDS)
    run.expect_well()
    waited = run.longest_asking(at)
    print(f"gateway1 lost: every login was accepted within {waited:.1f} s")
    assert waited < ELSEWHERE_SECONDS


@pytest.mark.parametrize("host", ["broker1", "broker2", "broker3"])
def test_a_brokers_host_is_lost(whole: Installation, host: str) -> None:
    """The two others carry on within 15 s, whichever of the three it was; then it joins them again."""
    with whole.under_load() as run:
        time.sleep(_BEFORE_SECONDS)
        whole.world.note("kill", "rabbitmq")
        at = whole.fleet.kill(host)
        time.sleep(_AFTER_SECONDS)
        whole.fleet.start(host)
        whole.world.note("back", "rabbitmq")
    run.expect_well()
    waited = run.longest_wait(_pools(), at)
    print(f"{host} lost: work went on within {waited:.1f} s")
    assert waited < ELSEWHERE_SECONDS
    wait_until(lambda: len(running_nodes(whole)) == 3, 120, f"{host} to be in the cluster again")


def test_a_broker_is_cut_off(whole: Installation) -> None:
    """The one without a majority pauses, so that nobody is told what the others will not know; healed, it is back."""
    with whole.under_load() as run:
        time.sleep(_BEFORE_SECONDS)
        whole.world.note("cut", "rabbitmq")
        at = time.time()
        whole.fleet.cuts.cut(("broker3",), ("broker1", "broker2"))
        wait_until(lambda: not is_open(whole, "broker3"), 90, "broker3 to pause")
        time.sleep(_AFTER_SECONDS)
        assert len(running_nodes(whole)) == 2
        whole.fleet.cuts.heal(("broker3",), ("broker1", "broker2"))
        wait_until(lambda: is_open(whole, "broker3"), 120, "broker3 to open again")
        whole.world.note("back", "rabbitmq")
    run.expect_well()
    print(f"broker3 cut off: work went on within {run.longest_wait(_pools(), at):.1f} s")
    wait_until(lambda: len(running_nodes(whole)) == 3, 120, "broker3 to be in the cluster again")


def test_a_pools_host_is_cut_off(whole: Installation) -> None:
    """It cannot reach broker or database for a while; what it had is done elsewhere, and once."""
    with whole.under_load() as run:
        time.sleep(_BEFORE_SECONDS)
        whole.world.note("cut", *whole.pools_of("calls2"))
        whole.fleet.cuts.cut(("calls2",), ("brokers", "data"))
        time.sleep(_AFTER_SECONDS)
        whole.fleet.cuts.heal(("calls2",), ("brokers", "data"))
        time.sleep(_BEFORE_SECONDS)
    run.expect_well()


def test_the_primary_databases_host_is_lost(whole: Installation) -> None:
    """One playbook promotes the standby within two minutes, and everything that was accepted is there."""
    with whole.under_load(may_hold_off=True) as run:
        time.sleep(_BEFORE_SECONDS)
        primary = primary_of(whole)
        whole.world.note("kill", "postgres")
        at = whole.fleet.kill(primary)
        recap = whole.controller.play("promote_standby")
        whole.world.note("back", "postgres")
        print(f"promote_standby.yml took {recap.seconds:.0f} s")
        assert recap.seconds < PROMOTED_SECONDS
        wait_until(lambda: all(whole.is_ready(g) for g in GATEWAYS), 60, "the gateways to accept")
        print(f"accepted again {time.time() - at:.0f} s after the loss")
        time.sleep(_BEFORE_SECONDS)
    run.expect_well()
    whole.fleet.start(primary)
    whole.controller.play("site", "--limit=databases", postgresql_rebuild_standby=True)
    assert primary_of(whole) != primary


def test_a_standby_that_lacks_commits_is_not_promoted(whole: Installation) -> None:
    """While the primary answers nothing of it is given up; the standby catches up, and what waited is accepted."""
    primary = primary_of(whole)
    [standby] = {"database1", "database2"} - {primary}
    followers = "SELECT count(*) FROM pg_stat_replication WHERE application_name <> 'backup'"
    with whole.under_load(may_hold_off=True) as run:
        time.sleep(_BEFORE_SECONDS)
        whole.world.note("kill", "postgres")
        whole.fleet.cuts.cut((primary,), (standby,))
        wait_until(lambda: sql(whole, primary, followers) == "0", 120, "the standby to be behind")
        refused = whole.controller.try_to_play("promote_standby")
        whole.fleet.cuts.heal((primary,), (standby,))
        whole.world.note("back", "postgres")
        wait_until(lambda: all(whole.is_ready(g) for g in GATEWAYS), 60, "the gateways to accept")
        time.sleep(_BEFORE_SECONDS)
    run.expect_well()
    assert refused.status
    assert "no standby has all that it has committed" in " ".join(refused.output.split())
    assert primary_of(whole) == primary


def test_a_primary_that_stands_still_is_replaced(whole: Installation) -> None:
    """It answers nobody, but runs: the playbook ends it before the standby is promoted."""
    with whole.under_load(may_hold_off=True) as run:
        time.sleep(_BEFORE_SECONDS)
        primary = primary_of(whole)
        whole.world.note("kill", "postgres")
        whole.fleet.run(primary, "pkill", "--signal=STOP", "--uid=postgres")
        recap = whole.controller.play("promote_standby")
        whole.world.note("back", "postgres")
        assert recap.seconds < PROMOTED_SECONDS
        assert whole.fleet.ask(primary, "pgrep", "--uid=postgres").output == ""
        wait_until(lambda: all(whole.is_ready(g) for g in GATEWAYS), 60, "the gateways to accept")
        time.sleep(_BEFORE_SECONDS)
    run.expect_well()
    whole.controller.play("site", "--limit=databases")
    assert primary_of(whole) != primary


def sql(installation: Installation, host: str, statement: str) -> str:
    """What a database's administrator is told on its host."""
    return installation.fleet.run(
        host, "runuser", "-u", "postgres", "--", "psql", "-tAc", statement
    ).strip()


def primary_of(installation: Installation) -> str:
    """The host whose database takes writes."""
    ask = ("runuser", "-u", "postgres", "--", "psql", "-tAc", "SELECT pg_is_in_recovery()")
    answers = {
        host: installation.fleet.ask(host, *ask).output.strip()
        for host in ("database1", "database2")
    }
    [primary] = [host for host, answer in answers.items() if answer == "f"]
    return primary


def running_nodes(installation: Installation) -> list[str]:
    """The brokers that are in the cluster, as one of those tells that can be asked."""
    for host in ("broker1", "broker2", "broker3"):
        told = installation.fleet.ask(
            host, "rabbitmqctl", "-q", "cluster_status", "--formatter", "json"
        )
        if told.status == 0:
            # Complaints about the locale stand before it.
            nodes: list[str] = json.loads(told.output[told.output.index("{") :])["running_nodes"]
            return nodes
    return []


def is_open(installation: Installation, broker: str) -> bool:
    """Whether a broker lets clients in; one that pauses does not."""
    told = installation.fleet.ask(broker, "sh", "-c", "ss -Hltn 'sport = :5671'")
    return bool(told.output.strip())


def _pools() -> tuple[str, ...]:
    return ("device_checks", "notifications", "db_writes", "external_api")
