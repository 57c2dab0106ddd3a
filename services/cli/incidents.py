"""`doorbell incident`: a switch is turned on for many users at once, and off again."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from services import incidents
from services.cli.amounts import counted
from services.cli.audit import actor
from services.cli.database import connected
from services.cli.desk import Desk, opened
from services.cli.endpoints import find
from services.cli.exits import OK, REFUSED, NotFound
from services.cli.incident_options import (
    Expire,
    FromCountry,
    FromNetwork,
    FromProvider,
    IncidentId,
    NoticesOnto,
    NoWait,
    Rate,
    Reason,
    Since,
    Switch,
    Tenant,
    Users,
)
from services.cli.incident_view import show_expected, show_incident, warn_of_unplaced
from services.cli.options import DryRun, Yes
from services.cli.output import AsJson, print_json, print_table
from services.cli.tenants import UnknownTenant
from services.cli.users import lines_of
from services.domain.errors import ConfigurationError, Unavailable
from services.domain.incident import Portion
from services.incidents import Lockdown

if TYPE_CHECKING:
    from services.ledger.planning import Plan

app = typer.Typer(
    help="A switch for many users at once: turn it on, stop that, take it back.",
    no_args_is_help=True,
)

_POLL_SECONDS = 0.2
_STEPS_SECONDS = 15.0
"""The stop holds from the first moment; what it waits for is to count what was done before it."""
_STANDS_STILL_SECONDS = 120.0
_LISTED = 50


@app.command("lockdown")
def lockdown(
    tenant: Tenant,
    switch: Switch,
    users: Users = None,
    network: FromNetwork = None,
    asn: FromProvider = None,
    country: FromCountry = None,
    since: Since = None,
    reason: Reason = "incident",
    expire: Expire = None,
    rate: Rate = None,
    notices_onto: NoticesOnto = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Turn a switch on for these users, or for all who signed in from somewhere, and tell them.

    Of network, provider and country all that are said have to hold of one login.
    A workflow does it, which goes on when this is interrupted: `incident stop` ends
    it. Who is never locked by the tenant's policy, or never logged in, is left out
    and named; whose switch is on already stays as it is.
    """
    wanted = Lockdown(
        tenant,
        switch.value,
        reason,
        actor(),
        _listed(users) if users else None,
        network,
        asn,
        country,
        since,
        expire,
        rate,
        notices_onto,
    )
    _check(wanted)
    if dry_run:
        with connected(find().database_url) as connection:
            show_expected(_expected(connection, wanted), switch, as_json)
        return
    with opened() as desk:
        _begin(desk, wanted, yes, no_wait, as_json)


@app.command("show")
def show(incident: IncidentId, as_json: AsJson = False) -> None:
    """Say how far an incident is, and what became of how many users."""
    with connected(find().database_url) as connection:
        show_incident(_found(connection, incident), as_json)


@app.command("list")
def list_incidents(
    tenant: Annotated[str | None, typer.Option(help="Only this application's.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the latest incidents, the youngest first."""
    with connected(find().database_url) as connection:
        if tenant is not None:
            _refuse_unknown(connection, tenant)
        found = incidents.latest(connection, tenant, _LISTED)
    if as_json:
        print_json(found)
        return
    print_table(
        ("BEGUN", "INCIDENT", "TENANT", "SWITCH", "STATE", "USERS", "SWITCHED", "UNDONE", "REASON"),
        [
            (
                f"{row['begun_at']:%F %T %Z}",
                *(row[name] for name in ("incident_id", "tenant", "switch", "state")),
                *(f"{row['counts'][name]:,}" for name in ("users", "switched", "undone")),
                row["reason"],
            )
            for row in found
        ],
    )


@app.command("stop")
def stop(incident: IncidentId, as_json: AsJson = False) -> None:
    """Have nobody's switch turned on any more, and nobody told, within two seconds; what was done stays."""
    with connected(find().database_url) as connection:
        _stop(connection, incident, is_undo=False)
        is_still = incidents.shut(connection, incident, _STEPS_SECONDS)
        connection.commit()
        found = _found(connection, incident)
    show_incident(found, as_json)
    if not is_still:
        typer.echo("a step was still at it: look again with doorbell incident show", err=True)


@app.command("undo")
def undo(incident: IncidentId, no_wait: NoWait = False, as_json: AsJson = False) -> None:
    """Stop an incident, then turn those switches off that it turned on, unless somebody has changed them since.

    Safe to interrupt and to repeat. Nobody is told but the application.
    """
    from services.canvas.lockdown import undoing  # Celery slows other commands down
    from services.ledger.planning import plan

    with opened() as desk:
        _stop(desk.connection, incident, is_undo=True)

        def planned(portions: Sequence[Portion], label: str) -> Plan:
            return plan(desk.app, undoing(desk.app, portions), label)

        with desk.connection.transaction():
            messages = incidents.begin_undo(
                desk.connection, incident, actor(), planned, _STEPS_SECONDS
            )
        desk.ledger.publish(messages)
        found = _found(desk.connection, incident)
        if not no_wait:
            found = _waited(desk.connection, found, "undoing", ("undone", "changed_since"))
    _end(found, as_json)


def _begin(desk: Desk, wanted: Lockdown, yes: bool, no_wait: bool, as_json: bool) -> None:
    from services.canvas.lockdown import lockdown as canvas  # Celery slows other commands down
    from services.ledger.planning import plan

    def planned(portions: Sequence[Portion], label: str) -> Plan:
        return plan(desk.app, canvas(desk.app, portions, wanted.notices_onto), label)

    connection = desk.connection
    expected = _expected(connection, wanted)
    warn_of_unplaced(expected.unplaced)
    _ask(expected, wanted, yes)
    connection.rollback()
    with connection.transaction():
        expected = _expected(connection, wanted)
        incident, messages = incidents.begin(connection, wanted, expected, planned)
    desk.ledger.publish(messages)
    found = _found(connection, incident)
    if not no_wait:
        typer.echo(f"{incident} goes on if this is interrupted (doorbell incident stop)", err=True)
        found = _waited(connection, found, "running", _DONE)
    _end(found, as_json)


_DONE = ("switched", "prolonged", "on_before", "never_locked", "unknown")


def _expected(connection: Any, wanted: Lockdown) -> incidents.Expected:
    _refuse_unknown(connection, wanted.tenant)
    with _options_named():
        return incidents.expect(connection, wanted)


def _refuse_unknown(connection: Any, tenant: str) -> None:
    if not incidents.is_tenant(connection, tenant):
        raise UnknownTenant(f"there is no tenant {tenant}: doorbell tenant list names them")


@contextmanager
def _options_named() -> Iterator[None]:
    try:
        yield
    except incidents.Unfit as error:
        raise ConfigurationError(f"--{error.field.replace('_', '-')}: {error}") from None


def _listed(file: Path) -> list[str]:
    found = [line for line in lines_of(file, "--users") if line]
    if not found:
        raise ConfigurationError(f"--users {file} names nobody: write one user a line")
    return found


def _check(wanted: Lockdown) -> None:
    is_from = (wanted.network, wanted.asn, wanted.country) != (None, None, None)
    is_since = wanted.since is not None
    if wanted.users is not None and (is_from or is_since):
        raise ConfigurationError(
            "--users is not for --network, --asn, --country and --since as well: take them apart"
        )
    if wanted.users is None and not (is_from and is_since):
        raise ConfigurationError(
            "say who: --users FILE, or --since TIME with --network CIDR, --asn ASN or --country CODE"
        )
    if wanted.notices_onto is not None:
        # They slow other commands down.
        from routing.load import load as load_topology
        from services.canvas.lockdown import notice_queues

        with _options_named():
            incidents.check_queue(wanted, notice_queues(load_topology()))


def _ask(expected: incidents.Expected, wanted: Lockdown, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "nobody can be asked here (standard input is no terminal): say --yes,"
            " or look first with --dry-run"
        )
    due = expected.to_document()["counts"]["waiting"]
    question = f"turn {wanted.switch} on for {counted(due, 'user')} of {wanted.tenant}?"
    typer.confirm(question, abort=True, err=True)


def _stop(connection: Any, incident: UUID, *, is_undo: bool) -> None:
    is_there = incidents.stop(connection, incident, None, actor(), is_undo=is_undo)
    connection.commit()
    if not is_there:
        raise NotFound(f"there is no incident {incident}: doorbell incident list names them")


def _found(connection: Any, incident: UUID) -> dict[str, Any]:
    found = incidents.find(connection, incident)
    # What is read next is of another moment.
    connection.rollback()
    if found is None:
        raise NotFound(f"there is no incident {incident}: doorbell incident list names them")
    return found


def _waited(
    connection: Any, found: dict[str, Any], state: str, done: Sequence[str]
) -> dict[str, Any]:
    """The incident once it is no longer in this state; a bar shows how many users are done.

    Raises:
        Unavailable: nothing has moved for two minutes.
    """

    # Who stops an incident waits for nothing that is not needed.
    from rich.console import Console
    from rich.progress import Progress

    def count() -> int:
        return sum(found["counts"][name] for name in done)

    moved_at, before = monotonic(), found
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(found["switch"], total=found["counts"]["users"])
        while found["state"] == state:
            progress.update(bar, completed=count())
            sleep(_POLL_SECONDS)
            found = _found(connection, found["incident_id"])
            if found != before:
                moved_at, before = monotonic(), found
            if monotonic() - moved_at > _STANDS_STILL_SECONDS:
                raise Unavailable(
                    f"nothing has moved for two minutes: it goes on (doorbell trace {found['incident_id']};"
                    " its pools are maintenance and notifications, see doorbell pool list)"
                )
    return found


def _end(found: dict[str, Any], as_json: bool) -> None:
    show_incident(found, as_json)
    is_failed = found["state"] in ("failed", "undo_failed")
    if is_failed:
        typer.echo("some of it was given up: doorbell dead list says why", err=True)
    raise typer.Exit(REFUSED if is_failed else OK)
