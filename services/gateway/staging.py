"""Puts logins of before aside until their import begins, then plans it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from services.domain.slices import BUCKET_SHIFT, Partition, partitions_of, slices_of
from services.gateway.answers import Import
from services.gateway.reports import digest_of
from services.gateway.tenant_keys import TenantKeys
from services.ledger.labels import NOBODY, label_of
from services.ledger.message import Message
from services.ledger.planning import Plan
from services.ledger.starting import NewWorkflow, start
from services.queries import load_queries

_SQL = {name: text.encode() for name, text in load_queries(__package__, "imports.sql").items()}

Connection = psycopg.Connection[Any]
PlanImport = Callable[[UUID, str, Sequence[Partition]], Plan]


@dataclass(frozen=True, slots=True)
class Staged:
    """A valid login with the number of its line.

    body: canonical, see `services.gateway.reports`.
    """

    line: int
    body: str
    device_cookie: str | None


@dataclass(frozen=True, slots=True)
class Portion:
    """The lines of an import behind one up to another; those that are no login are skipped or refused."""

    after: int
    line: int
    logins: Sequence[Staged]
    skipped: int
    refused: int


class Elsewhere(Exception):
    """A portion does not go on where its import is, or comes after it has begun."""


class TooManyToPlan(Exception):
    """An import is larger than one workflow can be."""


def open_import(connection: Connection, tenant: str, key: str) -> Import:
    """The tenant's import of this key, which is made if it is not there."""
    [row] = _run(connection, "open_import", tenant=tenant, key=key)
    found = find_import(connection, tenant, row["id"])
    assert found is not None
    return found


def find_import(connection: Connection, tenant: str, import_id: UUID) -> Import | None:
    """How far an import is, unless it is not there or another tenant's."""
    rows = _run(connection, "read_import", tenant=tenant, import_id=import_id)
    return Import(**rows[0]) if rows else None


def stage(
    connection: Connection, tenant: str, import_id: UUID, portion: Portion, keys: TenantKeys
) -> bool:
    """Put a portion aside in the caller's transaction; false: there is no such import.

    One that is here already changes nothing.

    Raises:
        Elsewhere: it does not follow what is here.
    """
    rows = _run(connection, "lock_import", tenant=tenant, import_id=import_id)
    if not rows:
        return False
    [row] = rows
    if row["line"] >= portion.line:
        return True
    if row["is_begun"]:
        raise Elsewhere("the import has begun: nothing can be added")
    if row["line"] != portion.after:
        raise Elsewhere(f"the import is here up to line {row['line']}: go on behind it")
    if portion.logins:
        _run(connection, "stage", tenant=tenant, import_id=import_id, **_columns(portion, keys))
    _run(
        connection,
        "note_staged",
        import_id=import_id,
        line=portion.line,
        staged=len(portion.logins),
        skipped=portion.skipped,
        refused=portion.refused,
    )
    return True


def begin_import(
    connection: Connection, tenant: str, import_id: UUID, plan_import: PlanImport
) -> tuple[bool, Sequence[Message]]:
    """Plan the import's workflow in the caller's transaction; what to publish after it. One that has begun goes on.

    Returns first whether there is such an import.

    Raises:
        TooManyToPlan: it has to be split.
    """
    rows = _run(connection, "lock_import", tenant=tenant, import_id=import_id)
    if not rows or rows[0]["is_begun"]:
        return bool(rows), ()
    counts = _run(connection, "count_buckets", import_id=import_id, shift=BUCKET_SHIFT)
    slices = slices_of({row["bucket"]: row["logins"] for row in counts})
    try:
        partitions = partitions_of(slices)
    except ValueError as error:
        raise TooManyToPlan(str(error)) from error
    _run(connection, "begin_import", import_id=import_id)
    plan = plan_import(import_id, label_of(import_id, NOBODY), partitions)
    return True, start(connection, NewWorkflow(import_id, "import", tenant, None), plan)


def _columns(portion: Portion, keys: TenantKeys) -> Mapping[str, Any]:
    return {
        # One text: an array of each field costs several times as much to make.
        "bodies": f"[{','.join(each.body for each in portion.logins)}]",
        "lines": [each.line for each in portion.logins],
        "digests": [digest_of(each.body) for each in portion.logins],
        "cookies": [keys.cookie_id(each.device_cookie) for each in portion.logins],
    }


def _run(connection: Connection, name: str, **values: object) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(_SQL[name], values)
        return cursor.fetchall() if cursor.description else []
