"""Leads processes of a running rig over ways that can be disturbed, and back onto the usual ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from tests.chaos.rig import POOLS, Rig
from tests.chaos.scenario import Run
from tests.chaos.supervisor import Program
from tests.support.faults.clock import WallClock
from tests.support.faults.commits import CommitCutter
from tests.support.faults.confirms import ConfirmSwallower
from tests.support.faults.network import Place, dropped, place
from tests.support.ports import free_port


@contextmanager
def apart(run: Run, *names: str) -> Iterator[Place]:
    """These processes in a place from which `broker` and `database` can be taken."""
    rig = run.rig
    services = {"broker": rig.node.amqp_port, "database": rig.postgres.port}
    others = [rig.api.port, rig.webhooks.port, rig.mail.port]
    with place(services, others) as where:
        urls = {"DOORBELL_DATABASE_URL": where.url("database", rig.database_url)}
        programs = {}
        for name in names:
            program = rig.supervisor.program(name)
            broker = rig.fleet.broker_url(program.user or name)
            urls |= {"DOORBELL_BROKER_URL": where.url("broker", broker)}
            programs[name] = replace(
                program, prefix=where.prefix, environment={**program.environment, **urls}
            )
        with _running(rig, programs):
            yield where


@contextmanager
def parted(run: Run, where: Place, names: Sequence[str], *services: str) -> Iterator[None]:
    """During the block these processes do not reach the services; noted at the moment at which it begins."""
    for name in names:
        run.supervisor.note(f"part by {where.means}", name)
    with dropped(where, *services):
        yield


@contextmanager
def through_swallower(run: Run, *names: str) -> Iterator[ConfirmSwallower]:
    """These processes' connections to the broker through a proxy that can swallow its confirms."""
    rig = run.rig
    with ConfirmSwallower(rig.node.amqp_port) as swallower:
        programs = {}
        for name in names:
            program = rig.supervisor.program(name)
            broker = rig.fleet.broker_url(program.user or name)
            url = broker.replace(f":{rig.node.amqp_port}/", f":{swallower.port}/")
            programs[name] = replace(
                program, environment={**program.environment, "DOORBELL_BROKER_URL": url}
            )
        with _running(rig, programs):
            yield swallower


@contextmanager
def through_cutter(run: Run) -> Iterator[CommitCutter]:
    """Everybody's connections to the database through a proxy, which takes the place of its port.

    The database is restarted at both ends. Each cut is noted.
    """
    rig = run.rig
    address = rig.postgres.port
    run.supervisor.note("stop", "postgres")
    rig.postgres.stop()
    rig.postgres.port = free_port()
    rig.postgres.start()
    try:
        with CommitCutter(
            rig.postgres.port, address, lambda: run.supervisor.note("cut a commit", "postgres")
        ) as cutter:
            rig.wait_until_up()
            yield cutter
    finally:
        run.supervisor.note("stop", "postgres")
        rig.postgres.stop()
        rig.postgres.port = address
        rig.postgres.start()


@contextmanager
def on_a_clock(run: Run) -> Iterator[WallClock]:
    """Every process of the product on a wall clock that can jump."""
    rig = run.rig
    clock = WallClock(rig.directory)
    programs = {}
    for name in (
        "gateway",
        "beat",
        *(name for pool in POOLS for name in rig.supervisor.of_pool(pool)),
    ):
        program = rig.supervisor.program(name)
        environment = {**program.environment, **clock.environment}
        programs[name] = replace(program, environment=environment)
    with _running(rig, programs):
        yield clock


def one_of_each_pool(run: Run) -> list[str]:
    """Half of the workers, by the run's dice."""
    return [run.dice.choice(run.supervisor.of_pool(pool)) for pool in POOLS]


@contextmanager
def _running(rig: Rig, programs: Mapping[str, Program]) -> Iterator[None]:
    """Processes with other programs during the block: ended in order, and started again, at both ends."""
    usual = {name: rig.supervisor.program(name) for name in programs}
    try:
        _start_as(rig, programs)
        yield
    finally:
        _start_as(rig, usual)


def _start_as(rig: Rig, programs: Mapping[str, Program]) -> None:
    for name, program in programs.items():
        rig.supervisor.add(name, program)
    rig.supervisor.stop(*programs)
    rig.wait_until_up()
