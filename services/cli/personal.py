"""`doorbell users erase`: what is kept about a user is gone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic, sleep
from typing import Annotated, Any
from uuid import UUID, uuid4

import psycopg
import typer
from psycopg.rows import dict_row

from services import personal_data
from services.cli import audit
from services.cli.dead import DryRun, Yes, drop_quietly
from services.cli.desk import Desk, counted, opened
from services.cli.exits import REFUSED, NotFound
from services.cli.output import AsJson, print_json, print_table
from services.cli.tenants import UnknownTenant
from services.domain.errors import ConfigurationError, Refused, Unavailable
from services.ledger.labels import pseudonym
from services.ledger.sending import send_chosen
from services.queries import load_queries

TenantId = Annotated[str, typer.Argument(help="The application whose user this is.")]
UserId = Annotated[
    str, typer.Argument(help="As the application names the user.", metavar="USER_ID")
]

_SQL = {name: text.encode() for name, text in load_queries(__package__, "personal.sql").items()}
_UNDER_WAY_SECONDS = 30.0
_DONE_SECONDS = 120.0
_POLL_SECONDS = 0.2
_NOT_OFFERED = "does not offer it"


def erase(
    tenant: TenantId,
    user: UserId,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Drop a user's dead letters, delete all rows, have the outlier API forget the user; then look again.

    Safe to interrupt and to repeat: what has begun is finished by the pools.
    Backups have the user until they are too old. It cannot be taken back.
    """
    if not (dry_run or yes) and not sys.stdin.isatty():
        raise ConfigurationError(
            "nobody can be asked here (standard input is no terminal): say --yes, or look first with --dry-run"
        )
    with opened() as desk:
        name = pseudonym(key_of(desk.connection, tenant), user)
        before = personal_data.count(desk.connection, tenant, user)
        # One that was asked for before may have deleted all rows, and wait for the outlier API.
        is_pending = bool(_run(desk.connection, "pending", tenant=tenant, user=user))
        if not any(before.values()) and not is_pending:
            raise NotFound(f"nothing is kept about a user {user} of {tenant}")
        desk.connection.rollback()
        if not dry_run and not yes:
            rows = counted(sum(before.values()), "row")
            typer.confirm(f"erase {user} of {tenant} ({rows}) for good?", abort=True, err=True)
        outcome: dict[str, Any] = {"tenant": tenant, "dry_run": dry_run, "before": before}
        if not dry_run:
            outcome |= _erase(desk, tenant, user, name)
    if as_json:
        print_json(outcome)
    else:
        _show(outcome)
    if not dry_run and (any(outcome["left"].values()) or outcome["outlier_api"] == _NOT_OFFERED):
        raise typer.Exit(REFUSED)


def _erase(desk: Desk, tenant: str, user: str, name: str) -> dict[str, Any]:
    from services.canvas.erasing import erasing, steps_of  # Celery slows other commands down

    whose = {"tenant": tenant, "user": user}
    _wait(
        lambda: not _run(desk.connection, "under_way", **whose)[0]["items"],
        _UNDER_WAY_SECONDS,
        Refused(
            "something is still being done for this user: try again later (doorbell users show)"
        ),
    )
    letters = [row["id"] for row in _run(desk.connection, "given_up", **whose)]
    before = [
        step for row in _run(desk.connection, "pending", **whose) for step in steps_of(row["id"])
    ]
    begun_before = [row["id"] for row in _run(desk.connection, "given_up_steps", ids=before)]
    desk.connection.rollback()
    if letters or begun_before:
        drop_quietly(desk, [*letters, *begun_before])
    erasure_id = uuid4()

    def begin(connection: psycopg.Connection[Any]) -> list[Any]:
        for query in ("supersede", "ask_no_more"):
            _run(connection, query, **whose)
        _run(connection, "ask", id=erasure_id, pseudonym=name, **whose)
        audit.note(connection, "users erase", f"{name} of {tenant}")
        return [erasing(desk.app, erasure_id)]

    send_chosen(desk.app, desk.ledger, begin)
    _wait(
        lambda: _is_done(desk, erasure_id, steps_of(erasure_id)),
        _DONE_SECONDS,
        Unavailable(
            "the user is not forgotten yet: it is tried again, see doorbell pool list for the pools maintenance"
            " and external_api, and repeat this to know"
        ),
    )
    done = _outcome(desk, erasure_id)
    return {
        "erasure": erasure_id,
        "erased": done["erased"],
        "outlier_api": done["outlier_api"],
        "dead_letters": len(letters),
        "left": personal_data.count(desk.connection, tenant, user),
    }


def _is_done(desk: Desk, erasure_id: UUID, steps: tuple[str, ...]) -> bool:
    desk.connection.rollback()
    if _outcome(desk, erasure_id)["forgotten_at"]:
        return True
    for step in _run(desk.connection, "given_up_steps", ids=list(steps)):
        raise Refused(
            f"{step['id']} was given up ({step['reason']}): see doorbell dead show {step['id']},"
            " and repeat this once that is mended"
        )
    return False


def _outcome(desk: Desk, erasure_id: UUID) -> dict[str, Any]:
    return _run(desk.connection, "outcome", id=erasure_id)[0]


def _wait(condition: Callable[[], object], seconds: float, otherwise: Exception) -> None:
    until = monotonic() + seconds
    while not condition():
        if monotonic() > until:
            raise otherwise
        sleep(_POLL_SECONDS)


def _show(outcome: dict[str, Any]) -> None:
    left = outcome.get("left", {})
    print_table(
        ("KEPT IN", "ROWS", "LEFT"),
        [(table, f"{rows:,}", left.get(table)) for table, rows in outcome["before"].items()],
    )
    if outcome["dry_run"]:
        typer.echo("nothing was erased")
        return
    typer.echo(f"the outlier API {outcome['outlier_api']}")
    typer.echo(f"{counted(outcome['dead_letters'], 'dead letter')} dropped")
    if outcome["outlier_api"] == _NOT_OFFERED:
        typer.echo("ask whoever runs the outlier API to forget the user", err=True)
    if any(left.values()):
        typer.echo("something is left, such as of a login since: repeat this", err=True)


def key_of(connection: Any, tenant: str) -> UUID:
    """The key to a tenant's users' pseudonyms. Raises UnknownTenant."""
    found = _run(connection, "tenant", tenant=tenant)
    if not found:
        raise UnknownTenant(f"there is no tenant {tenant}")
    key: UUID = found[0]["pseudonym_key"]
    return key


def _run(connection: Any, name: str, **values: object) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(_SQL[name], values)
        return cursor.fetchall() if cursor.description else []
