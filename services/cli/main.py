"""The `doorbell` command's arguments, and what its exit codes mean."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from rich.markup import escape

from routing.load import load as load_topology
from routing.management import TlsFiles
from services.cli import (
    audit,
    bounces,
    breakers,
    certificates,
    dead,
    digests,
    exports,
    following,
    incidents,
    keys,
    ledger,
    logins,
    migrations,
    personal,
    policies,
    pools,
    tasks,
    tenant_commands,
    tenants,
    topology,
    trace,
    users,
    webhooks,
    workflows,
)
from services.cli import doctor as examination
from services.cli.database import connected
from services.cli.endpoints import find
from services.cli.exits import (
    INTERRUPTED,
    MISUSED,
    NOT_FOUND,
    OK,
    REFUSED,
    UNAVAILABLE,
    NotFound,
)
from services.cli.keys import text_of
from services.cli.output import AsJson, console, print_json, print_table
from services.domain.errors import ConfigurationError, DoorbellError, Unavailable
from services.ledger.message import is_name

_EPILOG = (
    "Exit codes: 0 all well; 1 refused, or something is wrong or differs; 2 wrong arguments or"
    " settings; 3 a service does not answer; 4 not found; 130 interrupted."
)

app = typer.Typer(
    name="doorbell",
    help="Watches sign-ins: see what became of a login, and what state the system is in.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
topology_app = typer.Typer(help="The shape of the system.", no_args_is_help=True)
app.add_typer(topology_app, name="topology")
app.add_typer(tenant_commands.app, name="tenant")
app.add_typer(keys.app, name="key")
app.add_typer(policies.app, name="policy")
app.add_typer(logins.app, name="logins")
app.add_typer(dead.app, name="dead")
app.add_typer(workflows.app, name="workflow")
app.add_typer(ledger.app, name="ledger")
app.add_typer(pools.app, name="pool")
app.add_typer(tasks.app, name="task")
app.add_typer(breakers.app, name="breaker")
app.add_typer(users.app, name="users")
app.add_typer(incidents.app, name="incident")
app.add_typer(webhooks.app, name="webhook")
app.add_typer(bounces.app, name="mail")
app.command("audit")(audit.show)
users.app.command("digest")(digests.digest)
users.app.command("export")(exports.export)
users.app.command("erase")(personal.erase)
users.app.command("certificate")(certificates.certificate)


@app.command("trace")
def trace_workflow(
    known_id: Annotated[
        str,
        typer.Argument(
            help="The workflow_id a login was answered, or the id of a step; by hand, also of a group.",
            metavar="WORKFLOW",
        ),
    ],
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Go on showing new states until it has ended."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the steps of a workflow, or of a canvas sent by hand, as planned and as they went, and where else to look.

    With --follow, one that did not end done ends this with 1.
    """
    if not is_name(known_id):
        raise typer.BadParameter(f"{known_id!r} is no id: give one of a workflow or of a step")
    endpoints = find()
    with connected(endpoints.database_url) as connection:
        if follow:
            found = following.follow(connection, known_id, as_json=as_json)
            raise typer.Exit(OK if found["state"] == "done" else REFUSED)
        traced = trace.read(connection, known_id)
    if traced is None:
        raise NotFound(trace.nobody_knows(known_id))
    if as_json:
        print_json(traced)
    else:
        console().print(trace.as_tree(traced))
        for place in trace.places(traced, endpoints.local_logs):
            typer.echo(place)


@topology_app.command("show")
def show_topology(as_json: AsJson = False) -> None:
    """List pools, queues and tasks."""
    shape = topology.describe(load_topology())
    if as_json:
        print_json(shape)
        return
    print_table(
        ("POOL", "STYLE", "AT ONCE", "QUEUES", "DEAD LETTERS"),
        [
            (
                pool["pool"],
                pool["style"],
                pool["concurrency"],
                " ".join(each["queue"] for each in pool["queues"]),
                " ".join(each["dead_letters"] for each in pool["queues"]),
            )
            for pool in shape["pools"]
        ],
    )
    console().print()
    rows = [(task["task"], task["queue"], " ".join(task["sends"])) for task in shape["tasks"]]
    print_table(("TASK", "QUEUE", "MAY SEND TO"), rows)


@topology_app.command("verify")
def verify_topology(
    management_url: Annotated[
        str | None, typer.Option(help="RabbitMQ's management address, such as http://mq1:15672.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="The account that asks.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="The file that holds its password.")
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(
            help="For https: the CA of the broker's certificate.", envvar="DOORBELL_BROKER_CA_FILE"
        ),
    ] = None,
    certificate_file: Annotated[
        Path | None,
        typer.Option(
            help="Our certificate, if the broker wants one.",
            envvar="DOORBELL_BROKER_CERTIFICATE_FILE",
        ),
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="And its key.", envvar="DOORBELL_BROKER_KEY_FILE")
    ] = None,
    with_users: Annotated[
        bool, typer.Option(help="Compare users too, which an administrator alone may.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the live broker with the topology, and name every difference."""
    url = management_url or find().rabbitmq_management
    password = text_of(password_file) if password_file else None
    tls = TlsFiles(ca_file, certificate_file, key_file)
    api = topology.management(url, user, password, tls)
    found = topology.verify(load_topology(), api, users=with_users)
    if as_json:
        print_json([asdict(difference) for difference in found])
    else:
        for difference in found:
            typer.echo(difference)
        if not found:
            typer.echo("the broker agrees with the topology")
    raise typer.Exit(REFUSED if found else OK)


@app.command("doctor")
def doctor(as_json: AsJson = False) -> None:
    """Say what is wrong on this machine, and how to mend it."""
    findings: list[examination.Finding] = []
    marks = {"ok": "[green]ok     [/green]", "skipped": "[dim]skipped[/dim]"}
    for finding in examination.examine():
        findings.append(finding)
        if not as_json:
            mark = marks.get(finding.verdict, "[red]wrong  [/red]")
            console().print(f"{mark} {finding.what}: {escape(finding.detail)}")
            if finding.mend:
                console().print(f"        [bold]-> {escape(finding.mend)}[/bold]")
    if as_json:
        print_json([asdict(finding) for finding in findings])
    raise typer.Exit(REFUSED if any(each.verdict == "wrong" for each in findings) else OK)


@app.command("migrate")
def migrate(
    directory: Annotated[
        Path, typer.Option(help="Where the migrations are.")
    ] = migrations.DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Bring the database's schema up to this version. Safe to run twice, and at once."""
    applied = migrations.migrate(find().database_url, directory)
    if as_json:
        print_json({"applied": list(applied)})
    else:
        typer.echo(f"applied {', '.join(applied)}" if applied else "the schema is up to date")


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code. A user's mistake is one sentence on standard error."""
    for argument in sys.argv[1:] if arguments is None else arguments:
        if not _is_utf8(argument):
            typer.echo(f"doorbell: the argument {argument!a} is not UTF-8", err=True)
            return MISUSED
    try:
        app(arguments, prog_name="doorbell")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except (DoorbellError, psycopg.Error) as error:
        typer.echo(f"doorbell: {_sentence(error)}", err=True)
        return _exit_code(error)
    return OK


def _is_utf8(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def main() -> None:
    """The console script."""
    sys.exit(run())


def _sentence(error: Exception) -> str:
    if isinstance(error, psycopg.errors.UndefinedTable):
        return "the database has no schema yet: doorbell migrate"
    if isinstance(error, psycopg.OperationalError):
        return f"the database does not answer: {error}".strip()
    return str(error)


def _exit_code(error: Exception) -> int:
    codes: dict[type[Exception], int] = {
        NotFound: NOT_FOUND,
        tenants.UnknownKey: NOT_FOUND,
        tenants.UnknownTenant: NOT_FOUND,
        ConfigurationError: MISUSED,
        Unavailable: UNAVAILABLE,
        psycopg.OperationalError: UNAVAILABLE,
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), REFUSED)
