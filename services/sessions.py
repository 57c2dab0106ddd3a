"""How sessions with PostgreSQL are opened: each side notices when the other is gone, who answered last is first."""

from __future__ import annotations

from typing import Any, Self

from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

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

_answered: dict[str, tuple[str, str]] = {}


class Session(Connection[Any]):
    """A connection that tries first the host that answered last.

    A host that is gone without a word costs whoever asks it first its whole time-out. Addresses
    name several hosts, and where the first one's machine is lost, that must not be every session's price.
    """

    @classmethod
    def connect(cls, conninfo: str = "", **options: Any) -> Self:
        """As psycopg's."""
        connection = super().connect(_answered_first(conninfo), **options)
        _answered[conninfo] = (connection.info.host, str(connection.info.port))
        return connection


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
