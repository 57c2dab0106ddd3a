"""`doorbell task limit`: the whole fleet begins no more steps of a task than that, and none is lost over it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from uuid import uuid4

import pytest

from services.ledger.limits import BURST_SECONDS
from tests.integration.workflow.conftest import Operate
from tests.support.cluster import Cluster
from tests.support.fleet import wait_until
from tests.support.outlier_api import AdjustableOutlierApi

SCORE = "external_api.score_login"
CHECK = "device_checks.check_device"
PER_SECOND = 3
BURST = int(PER_SECOND * BURST_SECONDS)
LOGINS = 2 * BURST


@pytest.fixture
def second_process(cluster: Cluster) -> Iterator[None]:
    """Another process of the pools whose tasks are limited: a limit of one process would let twice as much through."""
    pools = ("external_api", "device_checks")
    for pool in pools:
        arguments = (pool, "--process", "2")
        cluster.fleet.start(f"{pool}.2", "services.worker", arguments, user=pool)
    for pool in pools:
        wait_until(lambda: cluster.consumers(pool) == 2, 60, pool)  # noqa: B023
    yield
    for pool in pools:
        cluster.fleet.stop(f"{pool}.2")


def times(cluster: Cluster, task: str, workflows: list[str]) -> list[float]:
    """When the steps of a task ended, in seconds."""
    found = cluster.rows(
        "SELECT extract(epoch FROM finished_at)::float8 FROM step"
        " WHERE task = %s AND workflow_id = ANY(%s::uuid[]) ORDER BY finished_at",
        task,
        workflows,
    )
    return [float(row[0]) for row in found]


@pytest.mark.parametrize("task", [SCORE, CHECK])
def test_the_fleet_keeps_to_it(
    cluster: Cluster,
    operate: Operate,
    api: AdjustableOutlierApi,
    second_process: None,
    task: str,
) -> None:
    """Calls and lists alike, over two processes; behind the burst one after the other, each login once."""
    code, told = operate("task", "limit", task, f"{PER_SECOND}/s")
    assert (code, told["limit_per_second"]) == (0, PER_SECOND)
    workflows = [cluster.post(f"user-{uuid4().hex[:8]}") for _ in range(LOGINS)]
    parked = f"SELECT count(*) FROM step WHERE task = '{task}' AND state = 'parked'"
    wait_until(lambda: cluster.rows(parked) != [(0,)], 30, "some to be parked")

    assert set(cluster.ended(*workflows, seconds=90)) == {"done"}
    ended = times(cluster, task, workflows)
    assert len(ended) == LOGINS
    for seconds in (1, 2, 4):
        most = max(sum(at <= each < at + seconds for each in ended) for at in ended)
        assert most <= BURST + PER_SECOND * seconds + 1
    # A limit begins with a single permit.
    [[set_at]] = cluster.rows(
        "SELECT extract(epoch FROM set_at)::float8 FROM rate_limit ORDER BY id DESC LIMIT 1"
    )
    assert ended[-1] - set_at >= (LOGINS - 1) / PER_SECOND
    assert all(api.calls[workflow] == 1 for workflow in workflows)
    assert cluster.rows("SELECT count(*) FROM rate_permit") == [(0,)]


def test_they_begin_in_the_order_in_which_they_came(cluster: Cluster, operate: Operate) -> None:
    """Who comes later does not overtake those that wait."""
    operate("task", "limit", SCORE, "2/s")
    asked = "SELECT count(*) FROM step WHERE task = %s AND workflow_id = %s AND state IN ('parked', 'done')"
    workflows = []
    for _ in range(8):
        workflows.append(cluster.post(f"user-{uuid4().hex[:8]}"))
        wait_until(lambda: cluster.rows(asked, SCORE, workflows[-1]) == [(1,)], 30)
    cluster.ended(*workflows, seconds=60)
    ended = [times(cluster, SCORE, [workflow])[0] for workflow in workflows]
    # Those of one portion go to the queue together, and may end in any order.
    assert all(later > earlier - 1 for earlier, later in pairwise(ended))


def test_without_it_what_waits_goes_at_once(cluster: Cluster, operate: Operate) -> None:
    """A new limit takes an old one's place; who set and lifted them is kept."""
    operate("task", "limit", SCORE, "9/s")
    operate("task", "limit", SCORE, "1/h")
    workflows = [cluster.post(f"user-{uuid4().hex[:8]}") for _ in range(3)]
    wait_until(lambda: _listed(operate)["parked"] >= 2, 30, "two to be parked")
    assert _listed(operate)["limit_per_second"] == pytest.approx(1 / 3600)

    code, told = operate("task", "unlimit", SCORE)
    assert (code, told["was_limited"]) == (0, True)
    assert set(cluster.ended(*workflows)) == {"done"}
    assert operate("task", "unlimit", SCORE)[1]["was_limited"] is False
    audited = cluster.rows(
        "SELECT set_by = lifted_by, set_by LIKE '%%@%%' FROM rate_limit ORDER BY id DESC LIMIT 2"
    )
    assert audited == [(True, True)] * 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((SCORE, "fast"), 2, "20/s, 300/m or 1000/h"),
        ((SCORE, "0/s"), 2, "doorbell task pause"),
        ((SCORE, "1/d"), 2, "is no rate"),
        (("maintenance.relay", "1/s"), 1, "cannot be limited"),
        (("score", "1/s"), 4, SCORE),
    ],
)
def test_what_cannot_be_limited_is_said(
    operate: Operate, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """And nothing is changed."""
    answered, output = operate("task", "limit", *arguments)
    assert answered == code
    assert said in output
    assert _listed(operate)["limit_per_second"] is None


def _listed(operate: Operate) -> dict[str, float]:
    [row] = [row for row in operate("task", "list")[1] if row["task"] == SCORE]
    found: dict[str, float] = row
    return found
