"""`doorbell migrate`: brings the database's schema up to this version."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from psycopg.conninfo import conninfo_to_dict
from yoyo import get_backend, read_migrations

from services.cli.database import connected, fetch
from services.domain.errors import ConfigurationError
from services.sessions import SESSION

DIRECTORY = Path(__file__).resolve().parents[2] / "deploy" / "postgres" / "migrations"


def pending(database_url: str, directory: Path = DIRECTORY) -> list[str]:
    """The migrations that the database still needs, in order."""
    backend = _backend(database_url)
    try:
        return [str(each.id) for each in backend.to_apply(_read(directory))]
    finally:
        backend.connection.close()


def migrate(database_url: str, directory: Path = DIRECTORY) -> Sequence[str]:
    """Apply what is pending, and return it. Several at once take turns; the later find nothing to do."""
    migrations = _read(directory)
    with connected(database_url) as turn:
        turn.execute("SET statement_timeout = '5min'")
        fetch(turn, "wait_for_turn")
        backend = _backend(database_url)
        try:
            wanted = backend.to_apply(migrations)
            backend.apply_migrations(wanted)
            return [str(each.id) for each in wanted]
        finally:
            backend.connection.close()


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
    return get_backend(f"postgresql+psycopg:///?{urlencode(parameters)}")
