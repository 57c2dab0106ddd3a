"""`doorbell breaker`: the circuit breakers of the fleet."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.audit import actor
from services.cli.desk import opened
from services.cli.exits import NotFound
from services.cli.output import AsJson, print_json, print_table
from services.ledger import breakers

app = typer.Typer(help="The fleet's circuit breakers.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="As `breaker list` names it.", metavar="NAME")]


@app.command("list")
def list_breakers(as_json: AsJson = False) -> None:
    """List the breakers: `open` closes by itself with the first answer, `held` stays until `close`."""
    with opened() as desk:
        found = breakers.breakers(desk.connection)
    rows = [
        {
            "name": each.name,
            "state": each.state,
            "failures": each.failures,
            "open_until": each.open_until,
            "held_by": each.held_by,
            "changed_at": each.changed_at,
        }
        for each in found
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("BREAKER", "STATE", "FAILURES IN A ROW", "HELD BY", "SINCE"),
        [
            (each.name, each.state, each.failures, each.held_by, f"{each.changed_at:%F %T %Z}")
            if each.changed_at
            else (each.name, each.state, each.failures, None, None)
            for each in found
        ],
    )


@app.command("open")
def hold_open(name: Name, as_json: AsJson = False) -> None:
    """Make no call of this service until `close`: steps are answered for as while it is away."""
    _switch(name, breakers.hold_open, "held", as_json)


@app.command("close")
def close(name: Name, as_json: AsJson = False) -> None:
    """Make calls again at once, whoever or whatever opened it."""
    _switch(name, breakers.close, "closed", as_json)


def _switch(name: str, switch: breakers.Switch, state: str, as_json: bool) -> None:
    if name not in breakers.NAMES:
        raise NotFound(f"there is no breaker {name}; there is {', '.join(breakers.NAMES)}")
    with opened() as desk:
        switch(desk.connection, name, actor())
        desk.connection.commit()
    if as_json:
        print_json({"name": name, "state": state})
    else:
        typer.echo(f"{name} is {state}")
