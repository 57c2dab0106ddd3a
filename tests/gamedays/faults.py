"""The real fault behind each alert, on the local cluster."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import psycopg

from tests.gamedays.grounds import Grounds

Fault = Callable[[Grounds], AbstractContextManager[None]]
"""Provoked on entry; on exit whatever the runbook's commands cannot end is ended."""


@dataclass(frozen=True, slots=True)
class GameDay:
    """One alert's: its fault, and whether its cause is mended outside of Doorbell before the page's commands run.

    page_seconds: from the fault to the page, at most: 90 but where the alert waits for more on purpose.
    """

    fault: Fault
    is_mended_outside: bool = False
    page_seconds: float = 90.0
    resolve_seconds: float = 300.0


def stopped(*names: str) -> Fault:
    """Processes are gone, and nothing starts them."""

    @contextmanager
    def fault(grounds: Grounds) -> Iterator[None]:
        grounds.supervise("stop", *names)
        yield

    return fault


def frozen(name: str) -> Fault:
    """A process stands still without ending."""

    @contextmanager
    def fault(grounds: Grounds) -> Iterator[None]:
        os.kill(grounds.pid(name), signal.SIGSTOP)
        yield

    return fault


def locked(table: str) -> Fault:
    """Somebody's session keeps a table of the ledger from everybody."""

    @contextmanager
    def fault(grounds: Grounds) -> Iterator[None]:
        with psycopg.connect(grounds.endpoints["database_url"]) as connection:
            connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
            yield
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


def commanded(begin: str, end: str) -> Fault:
    """An operator's command, and the one that takes it back."""

    @contextmanager
    def fault(grounds: Grounds) -> Iterator[None]:
        grounds.run(begin)
        try:
            yield
        finally:
            grounds.run(end)

    return fault


@contextmanager
def lost_standby(grounds: Grounds) -> Iterator[None]:
    """Commits are to wait for a standby that is not there."""
    grounds.rows("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
    grounds.rows("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        grounds.rows("ALTER SYSTEM RESET synchronous_standby_names")
        grounds.rows("SELECT pg_reload_conf()")


GAME_DAYS: dict[str, GameDay] = {
    "BeatSilent": GameDay(frozen("schedule")),
    "BreakerOpen": GameDay(stopped("outlier_api")),
    "BrokerAlarm": GameDay(
        told(("set_vm_memory_high_watermark", "0.0001"), ("set_vm_memory_high_watermark", "0.4")),
        is_mended_outside=True,
    ),
    "BrokerDiskSoonFull": GameDay(
        told(("set_disk_free_limit", "mem_relative", "1.0"), ("set_disk_free_limit", "50MB")),
        is_mended_outside=True,
        page_seconds=420,
    ),
    "BrokerDown": GameDay(stopped("rabbitmq")),
    "CanarySilent": GameDay(stopped("maintenance.1")),
    "DatabaseDown": GameDay(stopped("postgresql")),
    "GatewayDown": GameDay(stopped("gateway")),
    "LedgerNotMeasured": GameDay(locked("breaker"), is_mended_outside=True),
    "LoginsNotAccepted": GameDay(locked("idempotency_key"), is_mended_outside=True),
    "NoticesNotGoingOut": GameDay(stopped("mail")),
    "QueueStandsStill": GameDay(locked("device"), is_mended_outside=True),
    "QueueWithoutConsumer": GameDay(stopped("db_writes.1")),
    "StandbyMissing": GameDay(lost_standby, is_mended_outside=True),
    "TargetDown": GameDay(stopped("flower"), page_seconds=240),
    "VerdictsLate": GameDay(
        commanded(
            ".venv/bin/doorbell task pause external_api.score_login",
            ".venv/bin/doorbell task resume external_api.score_login",
        ),
        is_mended_outside=True,
    ),
}
"""Those that the local cluster can have."""
