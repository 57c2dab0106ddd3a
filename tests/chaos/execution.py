"""Runs one scenario on a rig: load, disturbance, proof."""

from __future__ import annotations

import random
import time

from routing.load import load
from tests.chaos.broker_state import Broker
from tests.chaos.evidence import Evidence, Places
from tests.chaos.findings import Findings
from tests.chaos.load import Load, make_reports
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
        Broker(rig.node.management_url, ADMINISTRATOR, rig.node.password, load().vhost),
        rig.maildir,
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
    reports = make_reports(logins, seed, scenario.mixture)
    load_ = Load(
        rig.gateway_url, KEY, reports, rate or scenario.rate, scenario.mixture.batched, seed
    )
    run = Run(rig, random.Random(seed), load_)
    began = time.time()
    calls, deliveries = len(rig.api.calls), len(rig.webhooks.calls)
    load_.start()
    try:
        scenario.disturb(run)
    except BaseException:
        load_.abort()
        raise
    load_.wait()
    evidence = Evidence(
        places_of(rig),
        reports,
        lambda: rig.api.calls[calls:],
        lambda: rig.webhooks.calls[deliveries:],
        [noted for noted in rig.disturbances if noted.at >= began],
        scenario.api_may_fail,
        scenario.may_hold_off,
    )
    found = judge(evidence, seconds)
    for problem in scenario.check(run) if scenario.check else []:
        found.object(problem)
    return found
