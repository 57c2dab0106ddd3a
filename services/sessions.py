"""How sessions with PostgreSQL are opened: each side notices when the other is gone, who answered last is first."""

from __future__ import annotations

from time import monotonic
from typing import Any, Self

from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.array import ListBinaryDumper
from psycopg_pool import ConnectionPool

_SERVER = {
    # A client that was cut off lets its rows go as soon as the broker gives its messages to others,
    # not after the system's two hours.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "11s",
    # Nor may a process that stands still in its transaction hold rows for ever: longer than any limit.
    "idle_in_transaction_session_timeout": "120s",
}

SESSION: dict[str, Any] = {
    "connect_timeout": 5,
    # The server is noticed as gone as well, also by a thread that waits for its answer.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # milliseconds
    "options": " ".join(f"-c {name}={value}" for name, value in _SERVER.items()),
}
"""Connection parameters of libpq."""

_PORT = "5432"
"""Of a host for which none is named."""

ASKED_AFTER_SECONDS = 1.0
"""A pool asks a connection whether it is alive when nobody has for so long: each time, it is one round trip more."""

_answered: dict[str, tuple[str, str]] = {}


class Session(Connection[Any]):
    """A connection that tries first the host that answered last, and sends lists in binary.

    A host that is gone without a word costs whoever asks it first its whole time-out. Addresses
    name several hosts, and where the first one's machine is lost, that must not be every session's price.
    As text, psycopg (3.3) escapes each character of a list in Python: for a list of messages that took
    two hundred times as long, and more of a worker's time than anything else.
    """

    asked_at = float("-inf")

    @classmethod
    def connect(cls, conninfo: str = "", **options: Any) -> Self:
        """As psycopg's."""
        connection = super().connect(_answered_first(conninfo), **options)
        connection.adapters.register_dumper(list, ListBinaryDumper)
        _answered[conninfo] = (connection.info.host, str(connection.info.port))
        return connection


def check(connection: Connection[Any]) -> None:
    """Raise psycopg.OperationalError if a connection is dead, as far as was seen within the last second.

    For a pool's `check`. One that died since then fails whoever is given it, like one that
    dies a moment later.
    """
    now = monotonic()
    if isinstance(connection, Session) and now - connection.asked_at <= ASKED_AFTER_SECONDS:
        return
    ConnectionPool.check_connection(connection)
    if isinstance(connection, Session):
        connection.asked_at = now


def _answered_first(conninfo: str) -> str:
    if conninfo not in _answered:
        return conninfo
    parameters = conninfo_to_dict(conninfo)
    hosts = str(parameters.get("host") or "").split(",")
    ports = [port or _PORT for port in str(parameters.get("port") or "").split(",")]
    if len(hosts) == 1 or "hostaddr" in parameters:
        return conninfo
    pairs = list(zip(hosts, ports if len(ports) > 1 else ports * len(hosts), strict=True))
    pairs.sort(key=lambda pair: pair != _answered[conninfo])
    host, port = (",".join(column) for column in zip(*pairs, strict=True))
    return make_conninfo(conninfo, host=host, port=port)
