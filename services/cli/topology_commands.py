"""`doorbell topology`: shows the shape of the system, and verifies a broker's."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from routing.load import load as load_topology
from routing.management import TlsFiles
from services.cli import topology
from services.cli.endpoints import find
from services.cli.exits import OK, REFUSED
from services.cli.keys import text_of
from services.cli.output import AsJson, console, print_json, print_table

app = typer.Typer(help="The shape of the system.", no_args_is_help=True)


@app.command("show")
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


@app.command("verify")
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
