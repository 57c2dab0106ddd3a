"""`doorbell users erase`: what is kept about a user is gone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from time import monotonic, sleep
from typing import Annotated, Any
from uuid import UUID

import typer
from psycopg.rows import dict_row

from services import personal_data
from services.cli import audit
from services.cli.amounts import counted
from services.cli.desk import Desk, opened
from services.cli.exits import REFUSED, NotFound
from services.cli.options import DryRun, Yes
from services.cli.output import AsJson, print_json, print_table
from services.cli.tenants import UnknownTenant
from services.domain.errors import ConfigurationError, Refused, Unavailable
from services.ledger.labels import pseudonym
from services.queries import load_queries

TenantId = Annotated[str, typer.Argument(help="The application whose user this is.")]
UserId = Annotated[
    str, typer.Argument(help="As the application names the user.", metavar="USER_ID")
]

_SQL = {name: text.encode() for name, text in load_queries(__package__, "personal.sql").items()}
_UNDER_WAY_SECONDS = 30.0
_DONE_SECONDS = 120.0
_POLL_SECONDS = 0.2


def erase(
    tenant: TenantId,
    user: UserId,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete a user's rows and dead letters, have the outlier API forget; then look again, and certify it.

    A workflow does it, which goes on when this is interrupted: one that is under
    way is waited for, not begun again. Repeat it as often as you like: each has its certificate.
    Backups have the user until they are too old. It cannot be taken back.
    """
    from services.user_erasures import was_erased  # Celery slows other commands down

    if not (dry_run or yes) and not sys.stdin.isatty():
        raise ConfigurationError(
            "nobody can be asked here (standard input is no terminal): say --yes, or look first with --dry-run"
        )
    with opened() as desk:
        name = pseudonym(key_of(desk.connection, tenant), user)
        before = personal_data.count(desk.connection, tenant, user)
        if not any(before.values()) and not was_erased(desk.connection, tenant, user, name):
            raise NotFound(_nothing(tenant, user))
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
    if not dry_run and _is_to_be_asked(outcome["certificate"]):
        raise typer.Exit(REFUSED)


def _erase(desk: Desk, tenant: str, user: str, name: str) -> dict[str, Any]:
    whose = {"tenant": tenant, "user": user}
    _wait(
        lambda: not _run(desk, "under_way", **whose)[0]["items"],
        _UNDER_WAY_SECONDS,
        Refused(
            "something is still being done for this user: try again later (doorbell users show)"
        ),
    )
    erasure_id = _begun(desk, tenant, user, name)
    _wait(
        lambda: _is_certified(desk, erasure_id),
        _DONE_SECONDS,
        Unavailable(
            f"the user is not forgotten yet: it goes on (doorbell trace {erasure_id}; its pools are maintenance and"
            " external_api, see doorbell pool list); repeat this to know"
        ),
    )
    certificate = _run(desk, "erasure", id=erasure_id)[0]["certificate"]
    return {
        "erasure": erasure_id,
        "erased": {it["place"]: it["deleted"] for it in certificate["places"]},
        "outlier_api": certificate["outlier_api"],
        "dead_letters": certificate["dead_letters"]["deleted"],
        "left": {it["place"]: it["left"] for it in certificate["places"]},
        "certificate": certificate,
    }


def _begun(desk: Desk, tenant: str, user: str, name: str) -> UUID:
    # Celery slows other commands down.
    from services.canvas.erasing import erasing
    from services.ledger.planning import Plan, plan
    from services.user_erasures import begin_erasure

    def plan_erasure(erasure_id: UUID, label: str) -> Plan:
        return plan(desk.app, erasing(desk.app, erasure_id), label)

    with desk.connection.transaction():
        begun = begin_erasure(desk.connection, tenant, user, name, audit.actor(), plan_erasure)
        if begun is None:
            raise NotFound(_nothing(tenant, user))
    erasure_id, messages = begun
    desk.ledger.publish(messages)
    return erasure_id


def _is_certified(desk: Desk, erasure_id: UUID) -> bool:
    erasure = _run(desk, "erasure", id=erasure_id)[0]
    if erasure["certificate"]:
        return True
    if not erasure["is_pending"]:
        raise Refused("somebody has asked for it again meanwhile: repeat this to wait for that one")
    for step in _run(desk, "given_up_steps", id=erasure_id):
        raise Refused(
            f"{step['task']} was given up ({step['reason']}): see doorbell dead show {step['id']},"
            " and repeat this once that is mended"
        )
    return False


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
    show_end(outcome["certificate"])
    if _is_to_be_asked(outcome["certificate"]):
        typer.echo("ask whoever runs the outlier API to forget the user", err=True)


def show_end(certificate: Mapping[str, Any]) -> None:
    """What a certificate says beside its tables."""
    typer.echo(f"the outlier API {certificate['outlier_api']}")
    typer.echo(f"{counted(certificate['dead_letters']['deleted'], 'dead letter')} dropped")
    typer.echo(
        f"certificate {certificate['erasure_id']} of {certificate['certified_at']}:"
        f" {certificate['signature']}"
    )


def _is_to_be_asked(certificate: Mapping[str, Any]) -> bool:
    from services.handlers.erase_user import NOT_OFFERED

    return bool(certificate["outlier_api"] == NOT_OFFERED)


def _nothing(tenant: str, user: str) -> str:
    return f"nothing is kept about a user {user} of {tenant}"


def key_of(connection: Any, tenant: str) -> UUID:
    """The key to a tenant's users' pseudonyms. Raises UnknownTenant."""
    found = fetch(connection, "tenant", tenant=tenant)
    if not found:
        raise UnknownTenant(f"there is no tenant {tenant}")
    key: UUID = found[0]["pseudonym_key"]
    return key


def fetch(connection: Any, name: str, **values: object) -> list[dict[str, Any]]:
    """The rows of a named query of personal.sql."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(_SQL[name], values)
        return cursor.fetchall() if cursor.description else []


def _run(desk: Desk, name: str, **values: object) -> list[dict[str, Any]]:
    # What is read next is of another moment.
    with desk.connection.transaction():
        return fetch(desk.connection, name, **values)
