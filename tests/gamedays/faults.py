"""The real fault behind each alert, on the local cluster."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from time import time

import psycopg

from tests.e2e.logins import Logins
from tests.e2e.waiting import wait_until
from tests.gamedays.grounds import Grounds
from tests.gamedays.intruders import eater, refusing_api, stopped_dead_lettering

Fault = Callable[[Grounds], AbstractContextManager[float | None]]
"""Provoked on entry; on exit whatever the runbook's commands cannot end is ended.

It says since when it is there, in seconds since 1970, where that is later than when it was asked for: a container
that asks takes seconds to start.
"""


@dataclass(frozen=True, slots=True)
class GameDay:
    """One alert's: its fault, and whether its cause is mended outside of Doorbell before the page's commands run.

    shown_seconds: of a page, from the fault to when Prometheus has its condition, at most.
    told_seconds: from the fault to the news, at most: 90 for pages.
    is_there: asks the ledger whether the fault, once provoked, has become what the alert is about; None if at once.
    found_out: what the page has its reader put besides the alert's labels, by the variable's name in small letters.
    """

    fault: Fault
    is_mended_outside: bool = False
    shown_seconds: float = 30.0
    told_seconds: float = 90.0
    resolve_seconds: float = 300.0
    is_there: str | None = None
    found_out: Mapping[str, str] = field(default_factory=dict)


def stopped(*names: str) -> Fault:
    """Processes are gone, and nothing starts them."""

    @contextmanager
    def fault(grounds: Grounds) -> Iterator[None]:
        grounds.supervise("stop", *names)
        yield

    return fault


@contextmanager
def stopped_between_canaries(grounds: Grounds) -> Iterator[float]:
    """A pool is gone when the last canary is some seconds old.

    Gone just after one, this page would come at the same time as the queue's own, which silences it.
    """

    def age() -> float:
        value = grounds.value("max(doorbell_canary_age_seconds)")
        return -1.0 if value is None else value

    # The first ones of a cluster that has just started come at uneven times.
    wait_until(lambda: 10 <= age() < 15, 120, "an old canary")
    wait_until(lambda: 0 <= age() < 5, 120, "a new canary")
    wait_until(lambda: 5 <= age() < 10 and grounds.is_calm(), 120, "a canary of some seconds ago")
    began = time()
    grounds.supervise("stop", "maintenance.1")
    yield began


def frozen(name: str) -> Fault:
    """A process stands still without ending."""

    @contextmanager
    def fault(grounds: Grounds) -> Iterator[None]:
        grounds.freeze(name)
        yield

    return fault


def locked(table: str) -> Fault:
    """Somebody's session keeps a table of the ledger from everybody."""

    @contextmanager
    def fault(grounds: Grounds) -> Iterator[None]:
        with psycopg.connect(grounds.endpoints["database_url"]) as connection:
            connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
            yield
            with suppress(psycopg.OperationalError):  # the page ends it
                connection.rollback()

    return fault


def told(begin: tuple[str, ...], end: tuple[str, ...]) -> Fault:
    """The broker is told something, and later something else."""

    @contextmanager
    def fault(grounds: Grounds) -> Iterator[None]:
        grounds.rabbitmqctl(*begin)
        try:
            yield
        finally:
            grounds.rabbitmqctl(*end)

    return fault


def paused(task: str) -> Fault:
    """An operator has paused one kind of task."""

    @contextmanager
    def fault(grounds: Grounds) -> Iterator[float]:
        grounds.doorbell("task", "pause", task)
        [(since,)] = grounds.rows(
            "SELECT extract(epoch FROM paused_at)::float8 FROM pause"
            f" WHERE resumed_at IS NULL AND task = '{task}'"
        )
        try:
            yield float(str(since))
        finally:
            grounds.doorbell("task", "resume", task)

    return fault


@contextmanager
def raised_disk_limit(grounds: Grounds) -> Iterator[None]:
    """Somebody has raised the watermark until only twice as much is free."""
    free = grounds.value("min(rabbitmq_disk_space_available_bytes)")
    assert free
    grounds.rabbitmqctl("set_disk_free_limit", str(int(free / 2)))
    try:
        yield
    finally:
        grounds.rabbitmqctl("set_disk_free_limit", "500MB")


@contextmanager
def lost_standby(grounds: Grounds) -> Iterator[None]:
    """Commits are to wait for a standby that is not there."""
    grounds.administer("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
    grounds.administer("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        grounds.administer("ALTER SYSTEM RESET synchronous_standby_names")
        grounds.administer("SELECT pg_reload_conf()")


@contextmanager
def slowed(grounds: Grounds) -> Iterator[None]:
    """A pool's only process runs a twenty-fifth of the time, and more comes in than usual."""
    pid = grounds.pid("db_writes.1")
    stop = threading.Event()

    def hold() -> None:
        while not stop.is_set():
            os.kill(pid, signal.SIGSTOP)
            # In slices as a host short of processors has them: longer ones would cost it its connection too.
            stop.wait(0.48)
            os.kill(pid, signal.SIGCONT)
            stop.wait(0.02)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    try:
        with Logins(grounds.endpoints, rate=20.0):
            yield
    finally:
        stop.set()
        thread.join()
        grounds.run("make up PROCESSES=db_writes=1")


@contextmanager
def purged(grounds: Grounds) -> Iterator[None]:
    """Somebody empties a queue in which some fifty messages wait."""
    queue = "device_checks"
    grounds.supervise("stop", f"{queue}.1")
    wait_until(lambda: _waiting(grounds, queue) > 50, 120, "messages to wait")
    grounds.rabbitmqctl("purge_queue", "-p", "doorbell", queue)
    grounds.supervise("start", f"{queue}.1")
    yield


@contextmanager
def unbound(grounds: Grounds) -> Iterator[None]:
    """Somebody takes the queues of both Flowers off the exchange of events."""
    listed = grounds.rabbitmqctl(
        *("-q", "-p", "doorbell", "list_bindings", "source_name", "destination_name", "routing_key")
    )
    bound = [row for row in map(_columns, listed.splitlines()) if row[0] == "celeryev"]
    assert bound, listed
    resource = '{{resource,<<"doorbell">>,{},<<"{}">>}}'.format
    for exchange, queue, key in bound:
        ends = f'{resource("exchange", exchange)},<<"{key}">>,{resource("queue", queue)}'
        grounds.rabbitmqctl("eval", f'rabbit_binding:remove({{binding,{ends},[]}},<<"game day">>).')
    yield


def _columns(line: str) -> list[str]:
    return line.split("\t")


def _waiting(grounds: Grounds, queue: str) -> int:
    listed = grounds.rabbitmqctl("-q", "-p", "doorbell", "list_queues", "name", "messages_ready")
    rows = dict(line.split("\t") for line in listed.splitlines() if "\t" in line)
    return int(rows[queue])


@contextmanager
def unprotected(grounds: Grounds) -> Iterator[None]:
    """A standby was to be there, has its slot, and commits wait for none."""
    grounds.administer("SELECT pg_create_physical_replication_slot('standby')")
    try:
        yield
    finally:
        grounds.administer(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            " WHERE slot_name = 'standby'"
        )


@contextmanager
def unanswered(grounds: Grounds) -> Iterator[None]:
    """Whoever is paged does not answer."""
    grounds.box.refuses.add("page")
    grounds.try_out(seconds=300)
    try:
        yield
    finally:
        grounds.try_out(seconds=0)
        grounds.box.refuses.clear()


@contextmanager
def forgotten(grounds: Grounds) -> Iterator[None]:
    """Somebody has paused a task more than an hour ago, and has gone home."""
    with paused("notifications.record_receipt")(grounds):
        grounds.rows(
            "UPDATE pause SET paused_at = now() - interval '61 minutes'"
            " WHERE resumed_at IS NULL AND task = 'notifications.record_receipt'"
        )
        yield


GAME_DAYS: dict[str, GameDay] = {
    "AlertsNotDelivered": GameDay(unanswered, is_mended_outside=True),
    "BeatSilent": GameDay(frozen("schedule")),
    "BreakerOpen": GameDay(stopped("outlier_api")),
    "BrokerAlarm": GameDay(
        told(("set_vm_memory_high_watermark", "0.0001"), ("set_vm_memory_high_watermark", "0.4"))
    ),
    "BrokerDiskSoonFull": GameDay(raised_disk_limit, told_seconds=420),
    "BrokerDown": GameDay(stopped("rabbitmq")),
    "CanarySilent": GameDay(stopped_between_canaries),
    "CommitsUnprotected": GameDay(unprotected, told_seconds=480),
    "DatabaseDown": GameDay(stopped("postgres")),
    "DeadLetteringStopped": GameDay(stopped_dead_lettering),
    "DeadLettersArriving": GameDay(refusing_api, is_mended_outside=True, told_seconds=180),
    "FlowerBlind": GameDay(unbound, told_seconds=420),
    "GatewayDown": GameDay(stopped("gateway")),
    "HeldTooLong": GameDay(forgotten, told_seconds=180),
    "LedgerNotMeasured": GameDay(locked("breaker")),
    "LoginsNotAccepted": GameDay(locked("idempotency_key")),
    "NoticesNotGoingOut": GameDay(stopped("mail_sink")),
    "QueueStandsStill": GameDay(locked("device")),
    "QueueWithoutConsumer": GameDay(stopped("db_writes.1")),
    "QueueWillNotClear": GameDay(slowed, told_seconds=600),
    "ReconcilerRepairing": GameDay(purged, told_seconds=600, resolve_seconds=1200),
    "StandbyMissing": GameDay(lost_standby),
    "TargetDown": GameDay(stopped("flower"), told_seconds=240),
    "VerdictsLate": GameDay(paused("external_api.score_login")),
    "WorkGivenUp": GameDay(refusing_api, is_mended_outside=True),
    "WorkLost": GameDay(
        partial(eater, queue="external_api", task="external_api.score_login"),
        is_mended_outside=True,
        is_there="SELECT EXISTS (SELECT 1 FROM step WHERE state = 'dead' AND reason = 'lost')",
    ),
    "WorkStuck": GameDay(
        paused("db_writes.save_event"),
        is_there="SELECT EXISTS (SELECT 1 FROM workflow WHERE state = 'accepted' AND generation = 1"
        " AND accepted_at < now() - interval '10 minutes')",
    ),
}
"""Those that the local cluster can have."""
