"""`doorbell incident`: a switch is turned on for many users at once, and off again."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from services import incidents
from services.cli.amounts import as_rate, counted, seconds_of
from services.cli.audit import actor
from services.cli.database import connected
from services.cli.desk import Desk, opened
from services.cli.endpoints import find
from services.cli.exits import OK, REFUSED, NotFound
from services.cli.options import DryRun, Yes
from services.cli.output import AsJson, print_json, print_table
from services.cli.tenants import UnknownTenant
from services.cli.users import SwitchName, lines_of
from services.domain.errors import ConfigurationError, Unavailable
from services.domain.incident import Portion
from services.domain.network import LARGEST_ASN
from services.incidents import LONGEST_REASON, LONGEST_SECONDS, Lockdown

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
_WORDS = {
    "users": "are meant",
    "waiting": "wait",
    "switched": "switched",
    "prolonged": "prolonged: it was on, and would have gone off earlier",
    "on_before": "left as they were: it was on",
    "never_locked": "skipped: never locked by the tenant's policy",
    "unknown": "skipped: never logged in",
    "undone": "taken back",
    "changed_since": "left as they are: somebody has changed the switch since",
    "notices": "notices recorded",
    "notices_sent": "of them sent",
}

IncidentId = Annotated[UUID, typer.Argument(help="As lockdown and list say it.", metavar="ID")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait for its end.")]


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}: write a network such as 203.0.113.0/24") from None


def _asn(text: str) -> int:
    number = text.upper().removeprefix("AS")
    if not (number.isascii() and number.isdigit()) or not 0 < int(number) <= LARGEST_ASN:
        raise typer.BadParameter(
            f"{text!r} is no autonomous system's number: write 64500 or AS64500"
        )
    return int(number)


def _country(text: str) -> str:
    if not (len(text) == 2 and text.isascii() and text.isalpha()):
        raise typer.BadParameter(
            f"{text!r} is no country's code: write its two letters (ISO 3166-1), such as NL"
        )
    return text.upper()


def _time(text: str) -> datetime:
    try:
        return datetime.now(UTC) - timedelta(seconds=seconds_of(text))
    except typer.BadParameter:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise typer.BadParameter(
            f"{text!r} is no time: write 2030-01-31T08:15:00Z, or how long ago: 90s, 10m, 1h, 2d"
        )
    return found


def _duration(text: str) -> float:
    seconds = seconds_of(text)
    if seconds < 1:
        raise typer.BadParameter(f"{text!r} is too short: write 10m, 1h or 2d")
    if seconds > LONGEST_SECONDS:
        raise typer.BadParameter(f"{text!r} is too long: without it they stay on for good")
    return seconds


def _reason(text: str) -> str:
    if not text.strip():
        raise typer.BadParameter("say why, or leave it out")
    if not text.isprintable() or len(text) > LONGEST_REASON:
        raise typer.BadParameter(f"write one line of at most {LONGEST_REASON} characters")
    return text


def _rate(rate: float | None) -> float | None:
    return None if rate is None else as_rate(rate)


@app.command("lockdown")
def lockdown(
    tenant: Annotated[str, typer.Argument(help="The application whose users these are.")],
    switch: Annotated[SwitchName, typer.Option(help="Which switch.")],
    users: Annotated[
        Path | None, typer.Option(help="Users, one a line; - is standard input.", metavar="FILE")
    ] = None,
    network: Annotated[
        Any,
        typer.Option(parser=_network, metavar="CIDR", help="Who signed in from this network ..."),
    ] = None,
    asn: Annotated[
        Any,
        typer.Option(
            parser=_asn,
            metavar="ASN",
            help="... from this provider's autonomous system, AS64500 ...",
        ),
    ] = None,
    country: Annotated[
        Any,
        typer.Option(parser=_country, metavar="CODE", help="... from this country, such as NL ..."),
    ] = None,
    since: Annotated[
        Any,
        typer.Option(
            parser=_time,
            metavar="TIME",
            help="... from then on: 2030-01-31T08:15:00Z, or how long ago: 2h.",
        ),
    ] = None,
    reason: Annotated[
        str, typer.Option(callback=_reason, help="Why, for the audit trail.")
    ] = "incident",
    expire: Annotated[
        float | None,
        typer.Option(
            "--for",
            parser=_duration,
            metavar="DURATION",
            help="Then the switches go off by themselves: 10m, 1h, 2d.",
        ),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(callback=_rate, help="At most so many users a second.")
    ] = None,
    notices_onto: Annotated[
        str | None,
        typer.Option(
            metavar="QUEUE",
            help="Let the notices wait in this queue of their pool, and others not behind them.",
        ),
    ] = None,
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
            _show_expected(_expected(connection, wanted), switch, as_json)
        return
    with opened() as desk:
        _begin(desk, wanted, yes, no_wait, as_json)


@app.command("show")
def show(incident: IncidentId, as_json: AsJson = False) -> None:
    """Say how far an incident is, and what became of how many users."""
    with connected(find().database_url) as connection:
        _show(_found(connection, incident), as_json)


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
    _show(found, as_json)
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
    _warn_of_unplaced(expected.unplaced)
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


def _warn_of_unplaced(users: int) -> None:
    if users:
        typer.echo(
            f"{counted(users, 'more user')} signed in since then from nobody knows where: their logins are on"
            " their way, or were stored before migration 0038",
            err=True,
        )


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
    _show(found, as_json)
    is_failed = found["state"] in ("failed", "undo_failed")
    if is_failed:
        typer.echo("some of it was given up: doorbell dead list says why", err=True)
    raise typer.Exit(REFUSED if is_failed else OK)


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    typer.echo(
        f"{found['incident_id']}: {found['switch']} for {found['tenant']}, {found['state']}"
        f" ({found['reason']})"
        + (f"; its notices wait in {found['notices_onto']}" if found["notices_onto"] else "")
    )
    _show_counts(found["counts"], found["skipped"])


def _show_expected(expected: incidents.Expected, switch: SwitchName, as_json: bool) -> None:
    found = expected.to_document()
    if as_json:
        print_json({"dry_run": True, "switch": switch.value, **found})
        return
    _warn_of_unplaced(expected.unplaced)
    _show_counts(found["counts"], found["skipped"])
    shown = ", ".join(found["first"])
    more = found["counts"]["waiting"] - len(found["first"])
    typer.echo(
        f"would be switched ({switch.value}): {shown or 'nobody'}"
        + (f" and {more:,} more" if more > 0 else "")
    )


def _show_counts(counts: dict[str, int], skipped: dict[str, list[str]]) -> None:
    print_table(
        ("USERS", "", "SUCH AS"),
        [
            (f"{count:,}", _WORDS[name], ", ".join(skipped.get(name, ())))
            for name, count in counts.items()
            if count or name == "users"
        ],
    )
