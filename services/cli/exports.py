"""`doorbell users export`: what is kept about a user, for the user."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from time import monotonic, sleep
from typing import IO, Annotated, Any
from uuid import UUID
from zipfile import ZipFile

import typer

from services import personal_data
from services.cli import audit
from services.cli.desk import Desk, opened
from services.cli.exits import NotFound
from services.cli.output import print_json
from services.cli.personal import TenantId, UserId, key_of
from services.domain.errors import ConfigurationError, Refused, Unavailable
from services.ledger.labels import pseudonym
from services.queries import load_queries

_SQL = {name: text.encode() for name, text in load_queries(__package__, "exports.sql").items()}
_DONE_SECONDS = 120.0
_POLL_SECONDS = 0.2

Archive = Annotated[
    Path | None,
    typer.Option(
        help="Write the archive (ZIP, a file for each table) there instead of JSON to standard output.",
        dir_okay=False,
    ),
]


def export(tenant: TenantId, user: UserId, archive: Archive = None) -> None:
    """Collect all that is kept about a user, database and outlier API, and print it as JSON.

    A workflow does it, which goes on when this is interrupted: one that is under
    way is waited for, not begun again. Its archive is kept for a day.
    """
    with _beside(archive) as file, opened() as desk:
        packed = _archive(desk, _begun(desk, tenant, user))
        if file is None or archive is None:
            print_json(_as_json(packed))
        else:
            file.write(packed)
            Path(file.name).replace(archive)


@contextmanager
def _beside(path: Path | None) -> Iterator[IO[bytes] | None]:
    """A file that will take the place of this one, for its owner alone: whether it can be made is seen first."""
    if path is None:
        yield None
        return
    try:
        file = NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False)  # noqa: SIM115
    except OSError as error:
        raise ConfigurationError(f"--archive: {path} cannot be written: {error.strerror}") from None
    try:
        with file:
            yield file
    finally:
        Path(file.name).unlink(missing_ok=True)


def _begun(desk: Desk, tenant: str, user: str) -> UUID:
    # Celery slows other commands down.
    from services.canvas.exporting import exporting
    from services.ledger.planning import Plan, plan
    from services.user_exports import begin_export

    def plan_export(workflow_id: UUID, label: str) -> Plan:
        return plan(desk.app, exporting(desk.app, workflow_id), label)

    with desk.connection.transaction():
        name = pseudonym(key_of(desk.connection, tenant), user)
        begun = begin_export(desk.connection, tenant, user, name, plan_export)
        if begun is None:
            raise NotFound(f"nothing is kept about a user {user} of {tenant}")
        audit.note(desk.connection, "users export", f"{name} of {tenant}")
    workflow_id, messages = begun
    desk.ledger.publish(messages)
    return workflow_id


def _archive(desk: Desk, workflow_id: UUID) -> bytes:
    until = monotonic() + _DONE_SECONDS
    while monotonic() < until:
        with desk.connection.transaction():
            row = desk.connection.execute(_SQL["export"], {"id": workflow_id}).fetchone()
        state, archive = row or ("gone", None)
        if archive is not None:
            return bytes(archive)
        if state != "accepted":
            raise Refused(
                f"the export ended {state} and without an archive: doorbell trace {workflow_id} shows its steps,"
                " doorbell dead show STEP why one was given up; repeat this once that is mended"
            )
        sleep(_POLL_SECONDS)
    raise Unavailable(
        f"the export is not done yet: it goes on (doorbell trace {workflow_id}; its pools are maintenance and"
        " external_api, see doorbell pool list); repeat this to have it"
    )


def _as_json(packed: bytes) -> dict[str, Any]:
    with ZipFile(io.BytesIO(packed)) as archive:
        about = json.loads(archive.read("export.json"))
        stores: dict[str, dict[str, list[Any]]] = {"database": {}, "outlier_api": {}}
        for name in archive.namelist():
            store, _, file = name.partition("/")
            if file:
                lines = archive.read(name).decode().split("\n")
                stores[store][file.removesuffix(".ndjson")] = [json.loads(it) for it in lines if it]
    empty: dict[str, list[Any]] = {
        place.table: [] for place in personal_data.PLACES if not place.is_copy
    }
    learned = stores["outlier_api"].get("learned")
    return {
        "tenant": about["tenant"],
        "user": about["user"],
        "exported_at": about["asked_at"],
        "rows": empty | stores["database"],
        "outlier_api": learned[0] if learned else "does not offer it",
    }
