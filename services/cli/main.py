"""The `doorbell` command's arguments, and what its exit codes mean."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

import psycopg
import typer

from services.cli.exits import (
    INTERRUPTED,
    MISUSED,
    NOT_FOUND,
    OK,
    REFUSED,
    UNAVAILABLE,
    NotFound,
)
from services.cli.tenants import UnknownKey, UnknownTenant
from services.domain.errors import ConfigurationError, DoorbellError, Unavailable

_EPILOG = (
    "Exit codes: 0 all well; 1 refused, or something is wrong or differs; 2 wrong arguments or"
    " settings; 3 a service does not answer; 4 not found; 130 interrupted."
)

_GROUPS: Mapping[str, str] = {
    "topology": "topology_commands",
    "tenant": "tenant_commands",
    "key": "keys",
    "policy": "policies",
    "logins": "logins",
    "dead": "dead",
    "workflow": "workflows",
    "ledger": "ledger",
    "pool": "pools",
    "task": "tasks",
    "breaker": "breakers",
    "users": "user_commands",
    "incident": "incidents",
    "webhook": "webhooks",
    "mail": "bounces",
}
"""Which module's `app` has the commands behind a word."""
_COMMANDS: Mapping[str, tuple[str, str]] = {
    "audit": ("audit", "show"),
    "trace": ("tracing", "trace_workflow"),
    "doctor": ("examination", "doctor"),
    "migrate": ("migrating", "migrate"),
}
"""Which module's function a word alone is."""


def application(words: Sequence[str] | None = None) -> typer.Typer:
    """All commands, or of one that is typed as these words what it needs.

    Loading all of them takes most of a second of CPU, and on a machine whose pools are busy, where
    somebody stops an incident, several seconds.
    """
    app = typer.Typer(
        name="doorbell",
        help="Watches sign-ins: see what became of a login, and what state the system is in.",
        epilog=_EPILOG,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    # One command alone would be what all words are arguments of.
    app.callback()(_no_options)
    meant = {*(words or ())[:1]} & {*_GROUPS, *_COMMANDS} or {*_GROUPS, *_COMMANDS}
    for word, name in _GROUPS.items():
        if word in meant:
            app.add_typer(import_module(f"services.cli.{name}").app, name=word)
    for word, (name, function) in _COMMANDS.items():
        if word in meant:
            app.command(word)(getattr(import_module(f"services.cli.{name}"), function))
    return app


def _no_options() -> None:
    """What stands before the command's word."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code. A user's mistake is one sentence on standard error."""
    words = sys.argv[1:] if arguments is None else arguments
    for argument in words:
        if not _is_utf8(argument):
            typer.echo(f"doorbell: the argument {argument!a} is not UTF-8", err=True)
            return MISUSED
    try:
        application(words)(words, prog_name="doorbell")
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
        UnknownKey: NOT_FOUND,
        UnknownTenant: NOT_FOUND,
        ConfigurationError: MISUSED,
        Unavailable: UNAVAILABLE,
        psycopg.OperationalError: UNAVAILABLE,
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), REFUSED)
