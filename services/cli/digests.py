"""`doorbell users digest`: a user is told of a day's sign-ins."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from services.cli import audit
from services.cli.amounts import counted
from services.cli.desk import Desk, opened
from services.cli.exits import NotFound
from services.cli.options import DryRun
from services.cli.output import AsJson, print_json, print_table
from services.cli.personal import TenantId, UserId, key_of
from services.ledger.labels import pseudonym

if TYPE_CHECKING:
    from services.user_digests import DeviceSummary

Day = Annotated[
    datetime | None,
    typer.Option(
        "--date",
        formats=["%Y-%m-%d"],
        metavar="DAY",
        help="By the user's clock, such as 2030-01-31; without it, yesterday.",
    ),
]


def digest(
    tenant: TenantId,
    user: UserId,
    day: Day = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Tell a user of a day's sign-ins in one mail, before the hour that the tenant's policy has for it.

    A workflow does it. Nobody is told of a day twice: of one that was, or is being, told of its workflow is shown.
    """
    from services.user_digests import devices_of_day  # Celery slows other commands down

    wanted = day.date() if day else None
    with opened() as desk:
        name = pseudonym(key_of(desk.connection, tenant), user)
        of_day, devices = devices_of_day(desk.connection, tenant, user, wanted)
        desk.connection.rollback()
        if not devices:
            raise NotFound(
                f"there is nothing to tell: no sign-in of user {user} of {tenant} on {of_day} is known"
            )
        workflow_id = None if dry_run else _begun(desk, tenant, user, of_day, name)
    outcome = {"tenant": tenant, "day": of_day, "dry_run": dry_run, "workflow": workflow_id}
    if as_json:
        print_json(outcome | {"devices": [_as_json(device) for device in devices]})
    else:
        _show(devices, workflow_id)


def _begun(desk: Desk, tenant: str, user: str, day: date, name: str) -> UUID:
    # Celery slows other commands down.
    from services.canvas.digesting import digesting
    from services.ledger.planning import Plan, plan
    from services.user_digests import begin_of_day

    def plan_digest(workflow_id: UUID, devices: int, label: str) -> Plan:
        return plan(desk.app, digesting(desk.app, workflow_id, devices), label)

    with desk.connection.transaction():
        workflow_id, messages = begin_of_day(desk.connection, tenant, user, day, plan_digest)
        audit.note(desk.connection, "users digest", f"{name} of {tenant}")
    desk.ledger.publish(messages)
    return workflow_id


def _show(devices: Sequence[DeviceSummary], workflow_id: UUID | None) -> None:
    print_table(
        ("DEVICE", "NEW", "SIGN-INS", "LAST"),
        [
            (
                it.description,
                "new" if it.is_new else "",
                f"{it.logins:,}",
                f"{it.last_at:%F %T %Z}",
            )
            for it in devices
        ],
    )
    total = counted(sum(it.logins for it in devices), "sign-in")
    if workflow_id is None:
        typer.echo(f"{total}; nothing was sent")
    else:
        typer.echo(f"{total}; doorbell trace {workflow_id} shows how far the mail is")


def _as_json(device: DeviceSummary) -> dict[str, Any]:
    return {
        "device": device.description,
        "is_new": device.is_new,
        "logins": device.logins,
        "last_at": device.last_at,
    }
