"""Running workers as the operator hears of them: Celery's remote control over the broker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import amqp
from celery import Celery
from kombu.exceptions import OperationalError

from services.broker_tls import explain
from services.cli.endpoints import without_credentials
from services.domain.errors import Unavailable

TELL = "tell_process"
READ_DRAIN = "read_drain"
"""The commands of services.runner.remote_control."""

_ANSWER_SECONDS = 2.0
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Process:
    """A worker process that answered; `node` is Celery's name for it.

    still_seconds: for how long nothing of what it has in flight was done.
    """

    node: str
    pool: str
    host: str
    process: int
    pid: int
    state: str
    in_flight: int
    uptime_seconds: int
    still_seconds: int = 0


class Remote:
    """Asks running workers. Who does not answer in time is not in the answer."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._connection: Any = app.connection_for_write()

    def processes(self, nodes: Sequence[str] | None = None) -> list[Process]:
        """All that answer, or those of these names.

        Raises:
            Unavailable: the broker does not answer.
        """
        answers = self._ask(TELL, nodes).items()
        # A version of before knows no such command, and says so.
        found = [_process(node, told) for node, told in answers if "error" not in told]
        return sorted(found, key=lambda each: (each.pool, each.host, each.process))

    def have_drain_read(self, pool: str) -> None:
        """Tell a pool's processes to read in the ledger whether they are drained.

        One that stands still finds it in its control queue when it goes on.
        """
        with self._explained():
            control: Any = self._app.control
            pattern = f"{pool}[.@]*"
            control.broadcast(
                READ_DRAIN, connection=self._connection, pattern=pattern, matcher="glob"
            )

    def consumers(self, queue: str) -> int:
        """How many processes take messages from a queue."""
        with self._explained():
            channel = self._connection.default_channel
            return int(channel.queue_declare(queue, passive=True).consumer_count)

    def close(self) -> None:
        """Close the connection."""
        self._connection.release()

    def _ask(self, command: str, nodes: Sequence[str] | None) -> dict[str, dict[str, Any]]:
        if nodes is not None and not nodes:
            return {}
        with self._explained():
            self._connection.ensure_connection(max_retries=1, timeout=_CONNECT_SECONDS)
            answers: Any = self._app.control.broadcast(
                command,
                destination=None if nodes is None else list(nodes),
                connection=self._connection,
                reply=True,
                timeout=_ANSWER_SECONDS,
            )
        return {node: told for answer in answers or [] for node, told in answer.items()}

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, OperationalError, amqp.AMQPError) as error:
            address = without_credentials(self._connection.as_uri())[0]
            raise Unavailable(
                f"the broker does not answer: {explain(error)} ({address}): start it, or correct DOORBELL_BROKER_URL"
            ) from error


def _process(node: str, told: dict[str, Any]) -> Process:
    # A later version may tell more.
    known = {field.name for field in fields(Process)}
    return Process(node=node, **{name: told[name] for name in told.keys() & known})
