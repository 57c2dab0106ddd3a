"""`doorbell migrate`: brings the database's schema up to this version."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict
from yoyo import get_backend, read_migrations

from services.cli.database import connected, fetch
from services.domain.errors import ConfigurationError, Unavailable
from services.sessions import SESSION

logger = logging.getLogger(__name__)

LOCK_SECONDS = 1.0
"""How long a migration waits for a table in use: the gateway gives up after three seconds."""

_PAUSE_SECONDS = 1.0

DIRECTORY = Path(__file__).resolve().parents[2] / "deploy" / "postgres" / "migrations"


def pending(database_url: str, directory: Path = DIRECTORY) -> list[str]:
    """The migrations that the database still needs, in order."""
    backend = _backend(database_url)
    try:
        return [str(each.id) for each in backend.to_apply(_read(directory))]
    finally:
        backend.connection.close()


def migrate(
    database_url: str, directory: Path = DIRECTORY, patience_seconds: float = 300.0
) -> Sequence[str]:
    """Apply what is pending, and return it. Several at once take turns; the later find nothing to do.

    A table that is in use is asked for again and again, and never for longer than a moment:
    whoever comes behind such a request waits as well, and with it the door.

    Raises:
        Unavailable: a table was in use for `patience_seconds`; what was applied before stays.
    """
    migrations = _read(directory)
    with connected(database_url) as turn:
        # An index that is built beside those who write waits for every statement that has begun before, also for one
        # that would wait for its turn.
        while not fetch(turn, "take_turn")[0]["is_ours"]:
            turn.commit()
            sleep(_PAUSE_SECONDS / 10)
        turn.commit()
        wanted = pending(database_url, directory)
        deadline = monotonic() + patience_seconds
        while not _is_applied(database_url, migrations):
            if monotonic() > deadline:
                raise Unavailable(
                    "a table that is to change has been in use all the time: end what keeps it"
                    " (SELECT * FROM pg_stat_activity WHERE xact_start IS NOT NULL), then try again"
                )
            sleep(_PAUSE_SECONDS)
    return wanted


def _is_applied(database_url: str, migrations: Any) -> bool:
    """Apply what is left; False when somebody uses what it needs."""
    backend = _backend(database_url)
    try:
        backend.apply_migrations(backend.to_apply(migrations))
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
        logger.warning("a table that is to change is in use, trying again: %s", error)
        return False
    finally:
        backend.connection.close()
    return True


def _read(directory: Path) -> Any:
    if not any(directory.glob("*.sql")):
        raise ConfigurationError(
            f"there are no migrations in {directory}: run this from a checkout, or name their"
            " directory with --directory"
        )
    return read_migrations(str(directory))


def _backend(database_url: str) -> Any:
    scheme = database_url.partition("://")[0]
    if scheme not in ("postgresql", "postgres"):
        raise ConfigurationError(f"{scheme}:// is not an address of PostgreSQL")
    # yoyo knows one host and one port; what stands behind the question mark it hands on as it is.
    parameters = {"connect_timeout": SESSION["connect_timeout"], **conninfo_to_dict(database_url)}
    if "," in str(parameters.get("host", "")):
        # It connects several times for each migration: a host that is silent is to be waited for once.
        with psycopg.connect(**parameters) as found:
            parameters |= {"host": found.info.host, "port": str(found.info.port)}
        parameters.pop("hostaddr", None)
    limit = f"-c lock_timeout={int(1000 * LOCK_SECONDS)}"
    parameters["options"] = f"{parameters.get('options') or ''} {limit}".strip()
    return get_backend(f"postgresql+psycopg:///?{urlencode(parameters, quote_via=quote)}")
