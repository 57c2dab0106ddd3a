"""What can be done to the parts that are no processes of ours: broker, database, and what is called outside."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote

from tests.chaos import mail_front, receivers
from tests.chaos.rig import Rig
from tests.chaos.scenario import Run
from tests.support.fleet import wait_until

_ALARM_SECONDS = 30.0
_NO_DISK = str(10**15)
"""Bytes that no disk has free: the disk alarm goes off."""


def restart_broker(run: Run, is_killed: bool) -> None:
    """Shut the broker down or kill it, and start it on the same data."""
    run.supervisor.note("kill" if is_killed else "stop", "rabbitmq")
    run.rig.node.kill() if is_killed else run.rig.node.stop()
    run.rig.node.start()
    run.back("rabbitmq")


@contextmanager
def suspended_broker(rig: Rig) -> Iterator[None]:
    """The broker stands still: it takes what is sent to it no further than its socket."""
    pid = int(rig.node.control("eval", "list_to_integer(os:getpid()).").strip())
    rig.supervisor.note("suspend", "rabbitmq")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        # It may have been killed meanwhile.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        rig.supervisor.note("back", "rabbitmq")


def restart_database(run: Run, is_killed: bool, away_seconds: float) -> None:
    """Shut PostgreSQL down or kill it with all its sessions, and start it on the same data."""
    run.supervisor.note("kill" if is_killed else "stop", "postgres")
    run.rig.postgres.kill() if is_killed else run.rig.postgres.stop()
    run.pause(away_seconds)
    run.rig.postgres.start()
    run.back("postgres")


def terminate_backends(run: Run) -> int:
    """Have PostgreSQL cut every connection; returns how many there were."""
    run.supervisor.note("terminate", "postgres")
    return run.rig.execute("terminate_backends")


def close_connections(run: Run) -> int:
    """Have the broker close every connection of a client; returns how many."""
    run.supervisor.note("close", "rabbitmq")
    found = run.rig.node.manage("GET", "connections")
    for connection in found:
        # One that ended in the meantime is not there any more.
        with contextlib.suppress(RuntimeError):
            run.rig.node.manage("DELETE", f"connections/{quote(connection['name'], safe='')}")
    return len(found)


@contextmanager
def memory_alarm(run: Run) -> Iterator[None]:
    """The broker thinks that its memory is used up, and blocks whoever publishes."""
    with _alarm(run, "mem_alarm", ("set_vm_memory_high_watermark", "0"), "0.4"):
        yield


@contextmanager
def disk_alarm(run: Run) -> Iterator[None]:
    """The broker thinks that its disk is full, and blocks whoever publishes."""
    with _alarm(run, "disk_free_alarm", ("set_disk_free_limit", _NO_DISK), "50MB"):
        yield


@contextmanager
def _alarm(run: Run, sign: str, command: tuple[str, str], usual: str) -> Iterator[None]:
    run.supervisor.note("alarm", "rabbitmq")
    run.rig.node.control(*command)
    try:
        wait_until(lambda: _shows(run.rig, sign), _ALARM_SECONDS, f"no {sign}")
        yield
    finally:
        run.rig.node.control(command[0], usual)
        run.back("rabbitmq")
        wait_until(lambda: not _shows(run.rig, sign), _ALARM_SECONDS, f"{sign} stays")


def _shows(rig: Rig, sign: str) -> bool:
    return any(node.get(sign) for node in rig.node.manage("GET", "nodes"))


def call_badly(
    run: Run, receiver: receivers.Receiver, manner: receivers.Manner, seconds: float
) -> None:
    """Have the outlier API or the webhook receiver misbehave for a while."""
    receiver.manner = manner
    run.pause(seconds)
    receiver.manner = "well"


def mail_badly(run: Run, manner: mail_front.Manner, seconds: float) -> None:
    """Have the mail server misbehave for a while."""
    run.rig.mail.manner = manner
    run.pause(seconds)
    run.rig.mail.manner = "well"


def arm_any(run: Run) -> None:
    """Have some process die at some failpoint when it gets there."""
    run.rig.arm(*run.dice.choice(run.rig.failpoints))


def for_a_moment(condition: Callable[[], object], seconds: float = 2.0) -> bool:
    """Wait a little for something that need not come; whether it did."""
    try:
        wait_until(condition, seconds)
    except AssertionError:
        return False
    return True
