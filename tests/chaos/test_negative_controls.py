"""Each protection is needed: the same fault is harmless with it, and loses or doubles something without it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from tests.chaos import faults
from tests.chaos.execution import Watch
from tests.chaos.findings import Findings
from tests.chaos.load import Load, Mixture, Report, make_reports
from tests.chaos.oracle import judge
from tests.chaos.rig import POOLS, Plan, Rig, running_rig
from tests.chaos.supervisor import Program
from tests.support.cluster import KEY
from tests.support.fleet import doorbell_node, wait_until
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import PrivateRabbitMQ

CHECK = "device_checks.check_device"
SCORE = "external_api.score_login"

_ONE_PLAIN_LOGIN = Mixture(marked=0.0, suspect=0.0)
_END_SECONDS = 12.0
_SWEPT_SECONDS = 20.0
"""Longer than from one of the reconciler's sweeps to the next."""

_LONG_AGO_SECONDS = 600.0

Post = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Control:
    """A protection, the process that goes without it, a fault that it is for, and what happens without it."""

    protection: str
    process: str
    fault: Callable[[Rig, Report, Post], None]
    without: str
    mixture: Mixture = _ONE_PLAIN_LOGIN


def _dies_before_its_commit(rig: Rig, report: Report, post: Post) -> None:
    # Not before the gateway has noted the confirm: otherwise the relay sends what was lost.
    marker = rig.arm("after_handler", CHECK)
    _post_while_nobody_checks(rig, report, post)
    wait_until(marker.exists, 20, "nobody died")


def _dies_before_its_ack(rig: Rig, _: Report, post: Post) -> None:
    marker = rig.arm("before_ack", SCORE)
    post()
    wait_until(marker.exists, 20, "nobody died")


def _broker_dies_with_what_it_has_not_read(rig: Rig, report: Report, post: Post) -> None:
    with faults.suspended_broker(rig):
        post()
        # Without confirms it counts as published at once; with them it never does.
        faults.for_a_moment(lambda: rig.execute("published", event=report.event_id))
        rig.node.kill()
    rig.node.start()


def _broker_is_away(rig: Rig, _: Report, post: Post) -> None:
    rig.node.stop()
    post()
    rig.node.start()


def _post_while_nobody_checks(
    rig: Rig, report: Report, post: Post, then: Callable[[], object] = lambda: None
) -> None:
    names = rig.supervisor.of_pool("device_checks")
    with rig.supervisor.held(*names):
        rig.supervisor.stop(*names)
        post()
        wait_until(lambda: rig.execute("published", event=report.event_id), 10, "not published")
        then()


def _broker_forgets_a_message(rig: Rig, report: Report, post: Post) -> None:
    _post_while_nobody_checks(rig, report, post, lambda: rig.purge("device_checks"))
    probes = rig.execute("probes", queue="device_checks")
    rig.execute("age", seconds=_LONG_AGO_SECONDS)
    faults.for_a_moment(
        lambda: rig.execute("probes", queue="device_checks") > probes, _SWEPT_SECONDS
    )
    rig.execute("age", seconds=_LONG_AGO_SECONDS)


def _is_refused(_: Rig, __: Report, post: Post) -> None:
    post()


CONTROLS = [
    Control("late_acks", "device_checks", _dies_before_its_commit, "lost"),
    Control("confirms", "gateway", _broker_dies_with_what_it_has_not_read, "lost"),
    Control("relay", "maintenance", _broker_is_away, "lost"),
    Control("reconciler", "maintenance", _broker_forgets_a_message, "lost"),
    Control("dedup", "external_api", _dies_before_its_ack, "doubled"),
    Control("dead_letters", "external_api", _is_refused, "lost", Mixture(marked=1.0)),
]


@pytest.fixture(scope="module")
def other_node() -> Iterator[PrivateRabbitMQ]:
    """A broker whose workers are the unprotected ones alone."""
    with doorbell_node() as running:
        yield running


@pytest.fixture(scope="module")
def other_postgres() -> Iterator[PrivatePostgres]:
    with PrivatePostgres() as running:
        yield running


@pytest.mark.timeout(300)
@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.protection)
def test_without_it_something_is_lost_or_doubled(
    control: Control, other_node: PrivateRabbitMQ, other_postgres: PrivatePostgres, tmp_path: Path
) -> None:
    """One process without its protection, the fault that it is for, and the oracle says what is wrong."""
    module = "services.gateway" if control.process == "gateway" else "services.worker"
    unprotected = Program("tests.support.unprotected", (control.protection, module))
    plan = Plan(dict.fromkeys(POOLS, 1), {control.process: unprotected})
    for queue in other_node.manage("GET", "queues/doorbell"):
        other_node.manage("DELETE", f"queues/doorbell/{queue['name']}/contents")
    with running_rig(tmp_path, plan, other_node, other_postgres) as rig:
        found = _attempt(rig, control)
    assert getattr(found, control.without) > 0, found.explain()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.protection)
def test_with_it_the_same_fault_is_harmless(control: Control, rig: Rig) -> None:
    """Otherwise the control above would show nothing about the protection."""
    found = _attempt(rig, control, seconds=60)
    assert found.is_well, found.explain()


def _attempt(rig: Rig, control: Control, seconds: float = _END_SECONDS) -> Findings:
    reports = make_reports(1, random.randrange(2**32), control.mixture)
    load = Load(rig.gateway_url, KEY, reports, rate=1)

    def post() -> None:
        load.start()
        load.wait()

    # Without a fault all is well, and the gateway has its connection to the broker.
    assert rig.cluster.ended(rig.cluster.post(f"before-{uuid4()}")) == ["done"]
    rig.wait_until_told()
    watch = Watch(rig)
    control.fault(rig, reports[0], post)
    return judge(watch.evidence(reports), seconds)
