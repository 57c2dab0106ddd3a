"""Begins digests: what users hear of a day's sign-ins, of each day once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

from psycopg import Connection
from psycopg.rows import dict_row

from services.domain.digest import day_of
from services.domain.errors import Refused
from services.ledger.labels import label_of, pseudonym
from services.ledger.message import Message
from services.ledger.planning import Plan
from services.ledger.starting import NewWorkflow, start
from services.queries import load_queries

MOST_DEVICES = 20
"""So many devices of a day are told of one by one, the others together."""

LATEST_HOURS = 24
"""A digest that could not be begun for so long is not any more: nobody wants those of all days of an outage at once."""

PlanDigest = Callable[[UUID, int, str], Plan]
"""The planned steps of a digest by its id, the number of its devices and the label of its steps."""

_QUERIES = load_queries("services", "digests.sql")
_SQL = {name: text.encode() for name, text in _QUERIES.items()} | {
    f"take_{which}": _QUERIES["take"].format(which=_QUERIES[which]).encode()
    for which in ("due", "of_day")
}
_Row = dict[str, Any]
_Key = tuple[str, str, date]


class DayNotOver(Refused):
    """The day is not over yet by the user's clock: ask for it tomorrow."""


@dataclass(frozen=True, slots=True)
class DeviceSummary:
    """A day's sign-ins on one device, as an operator is shown them."""

    description: str
    logins: int
    is_new: bool
    last_at: datetime


def begin_due(
    connection: Connection[Any], plan_digest: PlanDigest, most: int, now: datetime | None = None
) -> tuple[int, Sequence[Message]]:
    """Begin digests whose hour has come, at most so many, in the caller's transaction.

    Those of users who have unsubscribed or have no address, of tenants whose policy has none any more, and
    those that are more than a day late are dropped. now: None: the database's.

    Returns how many, and what to publish once that is committed.
    """
    rows = _run(connection, "take_due", most=most, now=now, most_hours=LATEST_HOURS)
    chosen: list[_Row] = []
    dropped: list[_Row] = []
    for row in rows:
        (dropped if row["is_too_late"] or _objection(row) else chosen).append(row)
    if dropped:
        _run(connection, "drop", **_columns(dropped))
    begun = _begin(connection, chosen, plan_digest)
    return len(begun), [message for _, messages in begun for message in messages]


def begin_of_day(
    connection: Connection[Any],
    tenant: str,
    user: str,
    day: date | None,
    plan_digest: PlanDigest,
    now: datetime | None = None,
) -> tuple[UUID, Sequence[Message]]:
    """Begin the digest of a day, of yesterday without one, in the caller's transaction.

    Of one that has begun before the workflow is returned, with nothing to publish. now: None: the database's.

    Returns its workflow, and what to publish once that is committed.

    Raises:
        DayNotOver: it would not tell of all of it.
        Refused: there is none to send, and why.
    """
    day = _checked(connection, tenant, user, day, now)
    whose = {"tenant": tenant, "user": user, "day": day}
    _run(connection, "day_again", **whose)
    rows = _run(connection, "take_of_day", **whose, now=now, most_hours=LATEST_HOURS)
    if not rows:
        if begun := _run(connection, "begun", **whose):
            return begun[0]["workflow_id"], ()
        raise Refused(f"no sign-in of {day} by this user is known since the policy has digests")
    if objection := _objection(rows[0]):
        raise Refused(objection)
    [(workflow_id, messages)] = _begin(connection, rows, plan_digest)
    return workflow_id, messages


def devices_of_day(
    connection: Connection[Any], tenant: str, user: str, day: date | None
) -> tuple[date, Sequence[DeviceSummary]]:
    """Which day that is, and what its digest has or would have in it; up to a thousand devices.

    day: None: yesterday by the user's clock.
    """
    if day is None:
        about = _about(connection, tenant, user)
        day = _yesterday(about["now"], about["time_zone"])
    found = _run(connection, "devices", tenants=[tenant], users=[user], days=[day], most=1000)
    names = ("description", "logins", "is_new", "last_at")
    return day, [DeviceSummary(**{name: row[name] for name in names}) for row in found]


def _checked(
    connection: Connection[Any], tenant: str, user: str, day: date | None, now: datetime | None
) -> date:
    about = _about(connection, tenant, user)
    if not about["is_wanted"]:
        raise Refused(_OBJECTIONS["is_wanted"])
    now = now or about["now"]
    if day is None:
        return _yesterday(now, about["time_zone"])
    if day >= day_of(now, about["time_zone"]):
        raise DayNotOver(f"{day} is not over yet by the user's clock: send it afterwards")
    return day


def _about(connection: Connection[Any], tenant: str, user: str) -> _Row:
    return _run(connection, "about", tenant=tenant, user=user)[0]


def _yesterday(now: datetime, zone: str | None) -> date:
    return day_of(now, zone) - timedelta(days=1)


_OBJECTIONS: Mapping[Literal["is_wanted", "has_unsubscribed", "told_in"], str] = {
    "is_wanted": "the tenant's policy has no digest: set one with digest: {hour: 8}",
    "has_unsubscribed": "the user has unsubscribed from such mails",
    "told_in": "the user had no mail address that day",
}


def _objection(row: _Row) -> str | None:
    """Why a user is not told of a day."""
    if not row["is_wanted"]:
        return _OBJECTIONS["is_wanted"]
    if row["has_unsubscribed"]:
        return _OBJECTIONS["has_unsubscribed"]
    return None if row["told_in"] else _OBJECTIONS["told_in"]


def _begin(
    connection: Connection[Any], rows: Sequence[_Row], plan_digest: PlanDigest
) -> list[tuple[UUID, Sequence[Message]]]:
    """rows: of digests that are taken."""
    if not rows:
        return []
    devices: dict[_Key, list[UUID]] = {_key(row): [] for row in rows}
    for found in _run(connection, "devices", **_columns(rows), most=MOST_DEVICES):
        devices[_key(found)].append(found["device_id"])
    begun = []
    for row in rows:
        workflow_id = uuid4()
        label = label_of(workflow_id, pseudonym(row["pseudonym_key"], row["user_id"]))
        workflow = NewWorkflow(workflow_id, "digest", row["tenant_id"], row["user_id"])
        plan = plan_digest(workflow_id, len(devices[_key(row)]), label)
        begun.append((workflow_id, start(connection, workflow, plan)))
    workflows = [workflow_id for workflow_id, _ in begun]
    _run(
        connection,
        "note_begun",
        **_columns(rows),
        workflows=workflows,
        told_in=[row["told_in"] for row in rows],
    )
    listed = [
        (workflow_id, position, device)
        for workflow_id, row in zip(workflows, rows, strict=True)
        for position, device in enumerate(devices[_key(row)])
    ]
    _run(
        connection,
        "list_devices",
        workflows=[workflow_id for workflow_id, _, _ in listed],
        positions=[position for _, position, _ in listed],
        devices=[device for _, _, device in listed],
    )
    return begun


def _key(row: _Row) -> _Key:
    return row["tenant_id"], row["user_id"], row["day"]


def _columns(rows: Iterable[_Row]) -> dict[str, list[Any]]:
    keys = [_key(row) for row in rows]
    return {
        "tenants": [tenant for tenant, _, _ in keys],
        "users": [user for _, user, _ in keys],
        "days": [day for _, _, day in keys],
    }


def _run(connection: Connection[Any], query: str, **values: object) -> list[_Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(_SQL[query], values)
        return cursor.fetchall() if cursor.description else []
