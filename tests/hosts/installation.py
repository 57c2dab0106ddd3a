"""Doorbell on the fleet, as site.yml has set it up: logins that keep coming, and what the oracle says to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256

import psycopg
import requests

from services.queries import load_queries
from tests.chaos.evidence import Evidence, Ledger, Places
from tests.chaos.findings import Findings
from tests.chaos.hearing import ALL_EVENTS
from tests.chaos.load import Load, Report, make_reports
from tests.chaos.oracle import judge
from tests.e2e.waiting import wait_until
from tests.hosts.controller import Controller
from tests.hosts.doors import KEY, Gateways, places
from tests.hosts.fleet import Fleet
from tests.hosts.network import HOSTS
from tests.hosts.world import WEBHOOK_URL, World

GATEWAYS = ("gateway1", "gateway2")

_SQL = load_queries("tests.chaos", "rig.sql")
_OPEN = "SELECT count(*) FROM workflow WHERE state = 'accepted'"
_RATE = 6.0
_BLOCKS = 400
_BLOCK_LOGINS = 60
"""So many logins are of the same few users, one block after the other, or hardly a device would be a second one."""
_END_SECONDS = 180.0
_READY_SECONDS = 120.0


@dataclass(slots=True)
class Run:
    """Logins that are being reported, and what the oracle found when they had ended."""

    load: Load
    reports: list[Report]
    gather: Callable[[Places, Sequence[Report], bool], Evidence]
    may_hold_off: bool
    findings: Findings | None = None
    ledger: Ledger | None = None

    @property
    def found(self) -> Findings:
        assert self.findings is not None, "the run has not ended"
        return self.findings

    def expect_well(self) -> None:
        """Nothing refused, lost or doubled."""
        assert self.found.accepted > 0
        assert self.found.is_well, self.found.explain()

    def longest_wait(self, queues: tuple[str, ...], since: float, seconds: float = 30.0) -> float:
        """The longest that a step of these queues took, of those that were due around `since` or a while after.

        Whatever the lost host had in hand is among them.
        """
        assert self.ledger is not None, "the run has not ended"
        waits = [
            step["finished_at"] - max(step["waits_since"], since)
            for step in self.ledger.all_steps
            if step["queue"] in queues
            and step["state"] == "done"
            and step["finished_at"] > since
            and step["waits_since"] < since + seconds
        ]
        assert waits, "no step was due"
        return float(max(waits))

    def longest_asking(self, since: float) -> float:
        """The longest that a login was reported in vain after `since` before it was accepted, in seconds."""
        return max(
            (
                answers[-1].at - max(since, answers[0].at - answers[0].seconds)
                for answers in (report.answers for report in self.reports)
                if answers and answers[-1].at > since
            ),
            default=0.0,
        )


@dataclass(frozen=True, slots=True)
class Installation:
    """A fleet at work, its controller, and the world around it."""

    fleet: Fleet
    controller: Controller
    world: World

    @contextmanager
    def places(self) -> Iterator[Places]:
        """Where the oracle looks."""
        with places(self.fleet, self.controller, self.world.maildir) as found:
            yield found

    def admit(self) -> None:
        """Make the tenant that reports logins, with its key and its webhook, unless it is there."""
        with self.places() as found, psycopg.connect(found.database_url) as connection:
            try:
                connection.execute(_SQL["insert_tenant"].encode(), {"url": WEBHOOK_URL})
            except psycopg.errors.UniqueViolation:
                return
            connection.execute(_SQL["set_policy"].encode(), {"policy": ALL_EVENTS})
            digest = sha256(KEY.encode()).digest()
            connection.execute(_SQL["insert_key"].encode(), {"digest": digest})

    @contextmanager
    def under_load(self, rate: float = _RATE, may_hold_off: bool = False) -> Iterator[Run]:
        """Report logins until the block ends, then wait for all of them and have the oracle judge."""
        # The oracle counts every dead letter; those of earlier runs are none of this one's.
        wait_until(self._has_ended, _END_SECONDS, "the logins of an earlier run to end")
        wait_until(self._has_no_dead_letters, _READY_SECONDS, "the dead letters to be gone")
        reports = [each for seed in range(_BLOCKS) for each in make_reports(_BLOCK_LOGINS, seed)]
        gateways = Gateways(GATEWAYS, self.controller.trusted)
        load = Load("https://gateways", KEY, reports, rate, transport=gateways)
        run = Run(load, reports, self.world.watch(), may_hold_off)
        load.start()
        try:
            yield run
        except BaseException:
            load.abort()
            raise
        load.enough()
        load.wait()
        run.reports = reports[: load.sent]
        self.judge(run)

    def _has_ended(self) -> bool:
        with self.places() as found, psycopg.connect(found.database_url) as connection:
            return connection.execute(_OPEN).fetchone() == (0,)

    def _has_no_dead_letters(self) -> bool:
        """Drop what there is; a letter whose drop a broker's change of leaders has lost goes at the next try."""
        self.fleet.run("checks1", "doorbell", "dead", "drop", "--all", "--yes")
        listed = json.loads(self.fleet.run("checks1", "doorbell", "dead", "list", "--json"))
        return bool(listed["total"] == listed["stale"] == 0)

    def judge(self, run: Run) -> None:
        """Have the oracle judge a run by what is left of it at this moment."""
        with self.places() as found:
            evidence = run.gather(found, run.reports, run.may_hold_off)
            run.findings = judge(evidence, _END_SECONDS)
            run.ledger = Ledger(evidence)

    def pools_of(self, host: str) -> tuple[str, ...]:
        """The pools, and so the queues, that a host works for."""
        groups = (group for group in HOSTS[host].groups if group.startswith("pool_"))
        return tuple(group.removeprefix("pool_") for group in groups)

    def is_ready(self, gateway: str) -> bool:
        """Whether a gateway says that it can serve."""
        try:
            answer = requests.get(
                f"https://{gateway}/readyz", verify=str(self.controller.trusted), timeout=5
            )
        except requests.RequestException:
            return False
        return answer.status_code == 200

    def is_calm(self) -> bool:
        """Whether every host runs, with nothing failed on it, and both gateways are ready."""
        running = self.fleet.running()
        return (
            all(name in running for name in HOSTS if HOSTS[name].groups)
            and all(self.is_ready(gateway) for gateway in GATEWAYS)
            and not any(self.fleet.failed_units(name) for name in running)
        )

    def calm(self) -> None:
        """Start what was killed, heal what was cut, and wait until all is well again."""
        self.fleet.cuts.lay()
        running = self.fleet.running()
        for name in HOSTS:
            if HOSTS[name].groups and name not in running:
                self.fleet.start(name)
        wait_until(self.is_calm, _READY_SECONDS, "the fleet to be well")
