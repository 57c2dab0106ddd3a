"""What every session with PostgreSQL is opened with, so that each side notices when the other is gone."""

from __future__ import annotations

from typing import Any

_SERVER = {
    # A client that was cut off lets its rows go within half a minute, not after the system's two hours.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25s",
    # Nor may a process that stands still in its transaction hold rows for ever: longer than any limit.
    "idle_in_transaction_session_timeout": "120s",
}

SESSION: dict[str, Any] = {
    "connect_timeout": 5,
    # The server is noticed as gone just as soon, also by a thread that waits for its answer.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # milliseconds
    "options": " ".join(f"-c {name}={value}" for name, value in _SERVER.items()),
}
"""Connection parameters of libpq."""
