"""Runs one scenario on a rig: load, disturbance, proof."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from routing.load import load as load_topology
from tests.chaos.broker_state import Broker
from tests.chaos.evidence import Evidence, Places
from tests.chaos.findings import Findings
from tests.chaos.load import Load, Report, make_reports
from tests.chaos.oracle import judge
from tests.chaos.rig import Rig
from tests.chaos.scenario import Run, Scenario
from tests.support.cluster import KEY
from tests.support.rabbitmq import ADMINISTRATOR

END_SECONDS = 150.0
"""How long after the last answer a run may take to end: a notice's lease and its retries fit in."""


def places_of(rig: Rig) -> Places:
    """Where the oracle looks at a rig."""
    return Places(
        rig.gateway_url,
        KEY,
        rig.database_url,
        Broker(rig.node.management_url, ADMINISTRATOR, rig.node.password, load_topology().vhost),
        rig.maildir,
    )


class Watch:
    """What was received and done since it was made: one run's share of what a rig notes."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._began = time.time()
        self._calls, self._deliveries = len(rig.api.calls), len(rig.webhooks.calls)

    def evidence(
        self, reports: Sequence[Report], api_may_fail: bool = False, may_hold_off: bool = False
    ) -> Evidence:
        """For the oracle, once the faults are over."""
        rig = self._rig
        return Evidence(
            places_of(rig),
            reports,
            lambda: rig.api.calls[self._calls :],
            lambda: rig.webhooks.calls[self._deliveries :],
            [noted for noted in rig.disturbances if noted.at >= self._began],
            api_may_fail,
            may_hold_off,
            rig.is_told_of_all,
        )


def execute(
    rig: Rig,
    scenario: Scenario,
    seed: int,
    logins: int,
    rate: float | None = None,
    seconds: float = END_SECONDS,
) -> Findings:
    """Report `logins` while `scenario` disturbs the rig, then judge. The rig must be calm before."""
    mixture = scenario.mixture
    reports = make_reports(logins, seed, mixture)
    load = Load(rig.gateway_url, KEY, reports, rate or scenario.rate, mixture.batched, seed)
    run = Run(rig, random.Random(seed), load)
    watch = Watch(rig)
    load.start()
    try:
        scenario.disturb(run)
    except BaseException:
        load.abort()
        raise
    load.wait()
    evidence = watch.evidence(reports, scenario.api_may_fail, scenario.may_hold_off)
    found = judge(evidence, seconds)
    if scenario.answers_within is not None:
        found.expect_answers_within(scenario.answers_within)
    for problem in scenario.check(run) if scenario.check else []:
        found.object(problem)
    return found
