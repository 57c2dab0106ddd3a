"""What `doorbell incident` prints."""

from __future__ import annotations

from typing import Any

import typer

from services import incidents
from services.cli.amounts import counted
from services.cli.output import print_json, print_table
from services.cli.users import SwitchName

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


def show_incident(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    typer.echo(
        f"{found['incident_id']}: {found['switch']} for {found['tenant']}, {found['state']}"
        f" ({found['reason']})"
        + (f"; its notices wait in {found['notices_onto']}" if found["notices_onto"] else "")
    )
    _show_counts(found["counts"], found["skipped"])


def show_expected(expected: incidents.Expected, switch: SwitchName, as_json: bool) -> None:
    found = expected.to_document()
    if as_json:
        print_json({"dry_run": True, "switch": switch.value, **found})
        return
    warn_of_unplaced(expected.unplaced)
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


def warn_of_unplaced(users: int) -> None:
    if users:
        typer.echo(
            f"{counted(users, 'more user')} signed in since then from nobody knows where: their logins are on"
            " their way, or were stored before migration 0038",
            err=True,
        )
