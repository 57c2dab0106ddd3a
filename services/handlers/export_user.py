"""Gives a user what is kept about them: each store's part, then one archive of all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from tempfile import SpooledTemporaryFile
from typing import Any, Literal, Protocol
from uuid import UUID
from zipfile import ZIP_DEFLATED, ZipFile

from services.domain.errors import Refused, Unavailable
from services.domain.outcome import Done, Failed, Outcome

StoreName = Literal["database", "outlier_api"]

STORES: Sequence[StoreName] = ("database", "outlier_api")
NOT_OFFERED = "not_offered"
"""The part of an outlier API that does not say what it has learned of a user."""

_IN_MEMORY_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Export:
    """Whom an export is about, and since when it is wanted."""

    tenant_id: str
    user_id: str
    asked_at: datetime
    is_packed: bool


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of what a store has under this name: JSON, one a line; there may be more parts of it."""

    store: str
    name: str
    rows: int
    body: str


class Exports(Protocol):
    """Exports, inside one PostgreSQL transaction."""

    def find(self, workflow_id: UUID) -> Export | None:
        """None: there is no such workflow any more, for its user was erased."""
        ...

    def collect_rows(self, workflow_id: UUID) -> int | None:
        """Put aside all rows about the user, as they are at one moment, in place of those of before.

        Returns how many; None: there is no such workflow any more.

        Raises:
            Unavailable: another process was at the same step.
        """
        ...

    def put_aside(self, workflow_id: UUID, part: Part) -> None:
        """Keep a part, in place of the one of before."""
        ...

    def parts(self, workflow_id: UUID) -> Iterable[Part]:
        """What was put aside, one after the other; those of one name follow each other."""
        ...

    def keep_archive(self, workflow_id: UUID, archive: bytes) -> None:
        """Keep the archive in place of the parts."""
        ...


BeginExports = Callable[[], AbstractContextManager[Exports]]
"""Opens a short transaction: commits at the end of the block, rolls back on an error."""


class SaysWhatItLearned(Protocol):
    """The part of the outlier API that not every one offers."""

    def export(self, tenant_id: str, user_id: str) -> Mapping[str, Any] | None:
        """What was learned of a user, as the API puts it; None: this API does not offer it.

        Raises:
            Unavailable: no usable answer within the deadline.
            Refused: the API says that the request is wrong.
        """
        ...


def export_rows(workflow_id: UUID, begin: BeginExports) -> Outcome:
    """Put aside what the database has, dead letters among it: a step's row has its message. Idempotent."""
    try:
        with begin() as exports:
            rows = exports.collect_rows(workflow_id)
    except Unavailable as error:
        return Failed(error)
    return Failed(_GONE) if rows is None else _done(workflow_id, "database", rows)


def export_learned(workflow_id: UUID, begin: BeginExports, api: SaysWhatItLearned) -> Outcome:
    """Put aside what the outlier API has; no transaction is open during the call. Idempotent."""
    with begin() as exports:
        export = exports.find(workflow_id)
    if export is None:
        return Failed(_GONE)
    try:
        learned = api.export(export.tenant_id, export.user_id)
    except (Unavailable, Refused) as error:
        return Failed(error)
    name = NOT_OFFERED if learned is None else "learned"
    part = Part("outlier_api", name, 0 if learned is None else 1, json.dumps(learned))
    with begin() as exports:
        exports.put_aside(workflow_id, part)
    return _done(workflow_id, "outlier_api", part.rows)


def pack_export(workflow_id: UUID, begin: BeginExports) -> Outcome:
    """Pack what all stores have put aside. Idempotent: what is packed stays as it is."""
    with begin() as exports:
        export = exports.find(workflow_id)
        if export is None:
            return Failed(_GONE)
        if not export.is_packed:
            archive, stores = pack(export, exports.parts(workflow_id))
            if missing := set(STORES) - stores:
                names = ", ".join(sorted(missing))
                return Failed(Refused(f"what was put aside is gone ({names}): export once more"))
            exports.keep_archive(workflow_id, archive)
    return Done({"workflow_id": str(workflow_id)})


def pack(export: Export, parts: Iterable[Part]) -> tuple[bytes, set[str]]:
    """A ZIP with a file for each name of each store, and `export.json` that says what is in it.

    One part is in memory at a time, and the archive from 4 MiB on a disk. Returns
    the stores that are in it too.
    """
    rows: dict[str, dict[str, int]] = {}
    with SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
        with ZipFile(file, "w", ZIP_DEFLATED) as archive:
            for (store, name), bodies in groupby(parts, lambda part: (part.store, part.name)):
                of_store = rows.setdefault(store, {})
                with archive.open(f"{store}/{name}.ndjson", "w") as member:
                    for part in bodies:
                        of_store[name] = of_store.get(name, 0) + part.rows
                        member.write(part.body.encode() + b"\n")
            about = {
                "tenant": export.tenant_id,
                "user": export.user_id,
                "asked_at": export.asked_at.isoformat(),
                "rows": rows,
            }
            archive.writestr("export.json", json.dumps(about, indent=2) + "\n")
        file.seek(0)
        return file.read(), set(rows)


_GONE = Refused("the export is gone: its user was erased")


def _done(workflow_id: UUID, store: StoreName, rows: int) -> Done:
    return Done({"workflow_id": str(workflow_id), "store": store, "rows": rows})
