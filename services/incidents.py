"""Incidents: one switch is turned on for many users of a tenant at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID, uuid4

from psycopg import Connection
from psycopg import errors as postgres
from psycopg.rows import dict_row

from services.domain.errors import Refused, Unavailable
from services.domain.incident import Portion, portions
from services.domain.model import SwitchName
from services.ledger.labels import NOBODY, label_of
from services.ledger.message import Message
from services.ledger.starting import NewWorkflow, start
from services.queries import load_queries

if TYPE_CHECKING:
    from services.ledger.planning import Plan

MOST_USERS = 100_000
"""One incident is about so many at most."""
LONGEST_SECONDS = 10 * 365 * 86400
"""So long at most until its switches go off by themselves."""
LONGEST_REASON = 200
STEPS_SECONDS = 2.0
"""So long a stop waits until what was done before it is committed, and can be counted."""
SHOWN = 20
"""So many users are named."""

State = Literal["running", "done", "failed", "stopped", "undoing", "undone", "undo_failed"]
"""failed: some portions were given up, and can be replayed."""
PlanPortions = Callable[[Sequence[Portion], str], "Plan"]
"""The planned steps of a workflow over portions, by the label of its steps."""

_SQL = {name: text.encode() for name, text in load_queries("services", "incidents.sql").items()}
# Addresses of old logins are kept as networks of this length.
_KEPT_PREFIX = {4: 24, 6: 48}


class Unfit(Refused):
    """Nobody can be chosen so; `field` is what should be said otherwise."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Lockdown:
    """What is wanted for an incident.

    users: these; None: who signed in since then, in one login, from all that is given of these: `network`,
    `asn` (the number of the provider's autonomous system), `country` (two letters, ISO 3166-1).
    expire_seconds: so long later the switches go off by themselves; None: never.
    per_second: for so many users a second; None: as fast as it goes.
    notices_onto: the queue in which the notices wait; None: where all do.
    """

    tenant: str
    switch: SwitchName
    reason: str
    actor: str
    users: Sequence[str] | None
    network: IPv4Network | IPv6Network | None = None
    asn: int | None = None
    country: str | None = None
    since: datetime | None = None
    expire_seconds: float | None = None
    per_second: float | None = None
    notices_onto: str | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """Whom an incident would be about: each user's outcome, None where the switch would be turned on.

    unplaced: so many others signed in since then too, and from which provider and country is not known (yet).
    """

    outcomes: dict[str, str | None]
    unplaced: int = 0

    def to_document(self) -> dict[str, Any]:
        """As `find` has it, of what is not begun."""
        counted = Counter(self.outcomes.values())
        named = ("never_locked", "unknown")
        return {
            "counts": {
                "users": len(self.outcomes),
                "waiting": counted[None],
                **{name: counted[name] for name in ("prolonged", "on_before", *named)},
            },
            "unplaced": self.unplaced,
            "first": [user for user, outcome in self.outcomes.items() if not outcome][:SHOWN],
            "skipped": {
                name: [user for user, outcome in self.outcomes.items() if outcome == name][:SHOWN]
                for name in named
            },
        }


def check_queue(lockdown: Lockdown, queues: Sequence[str]) -> None:
    """See that its notices may wait where they are to; queues: those in which they may.

    Raises:
        Unfit: they may not.
    """
    queue = lockdown.notices_onto
    if queue is not None and queue not in queues:
        raise Unfit(
            "notices_onto",
            f"notices of an incident cannot wait in a queue {queue!r}: use one of {', '.join(queues)}",
        )


def expect(connection: Connection[Any], lockdown: Lockdown) -> Expected:
    """Whom it would be about; changes nothing.

    Raises:
        Unfit: it would be about nobody, or about too many.
    """
    users, unplaced = _chosen(connection, lockdown)
    field = "users" if lockdown.users is not None else _places(lockdown)[0]
    if len(users) > MOST_USERS:
        raise Unfit(field, f"these are more than {MOST_USERS:,} users: take them in parts")
    rows = _run(
        connection,
        "expected",
        tenant=lockdown.tenant,
        users=users,
        switch=lockdown.switch,
        expire_seconds=lockdown.expire_seconds,
    )
    outcomes = {row["user_id"]: row["outcome"] for row in rows}
    if all(outcome == "unknown" for outcome in outcomes.values()):
        raise Unfit(field, _why_nobody(connection, lockdown, unplaced))
    return Expected(outcomes, unplaced)


def begin(
    connection: Connection[Any], lockdown: Lockdown, expected: Expected, plan: PlanPortions
) -> tuple[UUID, Sequence[Message]]:
    """Begin it in the caller's transaction; what to publish once that is committed, and the relay otherwise."""
    incident_id = uuid4()
    users = len(expected.outcomes)
    dealt = portions(incident_id, users, lockdown.per_second)
    workflow = NewWorkflow(incident_id, "lockdown", lockdown.tenant, None)
    messages = _start(connection, workflow, dealt, plan)
    _run(
        connection,
        "insert_incident",
        id=incident_id,
        tenant=lockdown.tenant,
        switch=lockdown.switch,
        reason=lockdown.reason,
        actor=lockdown.actor,
        expire_seconds=lockdown.expire_seconds,
        per_second=lockdown.per_second,
        network=str(lockdown.network) if lockdown.network else None,
        asn=lockdown.asn,
        country=lockdown.country,
        since=lockdown.since,
        notices_onto=lockdown.notices_onto,
    )
    _run(
        connection,
        "insert_users",
        id=incident_id,
        tenant=lockdown.tenant,
        users=list(expected.outcomes),
        outcomes=[it if it == "unknown" else None for it in expected.outcomes.values()],
    )
    about = (
        f"{incident_id} of {lockdown.tenant}, {lockdown.switch}, {users} users: {lockdown.reason}"
    )
    _note(connection, "incident lockdown", about, lockdown.actor)
    return incident_id, messages


def stop(
    connection: Connection[Any],
    incident_id: UUID,
    tenant: str | None,
    actor: str,
    *,
    is_undo: bool = False,
) -> bool:
    """Have nothing more done for an incident once the caller has committed; false: there is no such incident.

    Steps that have not begun do nothing then, and the others see it between two
    slices of users: `shut` waits for them. tenant: whose it has to be; None: anybody's.
    is_undo: it is to be taken back next, also if it is done.
    """
    rows = _run(connection, "take", id=incident_id, tenant=tenant)
    if rows and _run(connection, "stop", id=incident_id, is_undo=is_undo) and not is_undo:
        _note(connection, "incident stop", f"{incident_id} of {rows[0]['tenant']}", actor)
    return bool(rows)


def shut(connection: Connection[Any], incident_id: UUID, seconds: float = STEPS_SECONDS) -> bool:
    """After `stop`: wait until no step is at the users any more, and withdraw notices that were not sent.

    False: a step has not committed after so many seconds, such as of a process that stands still.
    """
    _run(connection, "limit_wait", milliseconds=str(int(seconds * 1000)))
    try:
        with connection.transaction():
            _run(connection, "shut", id=incident_id)
    except postgres.LockNotAvailable:
        return False
    finally:
        _run(connection, "withdraw_notices", id=incident_id)
    return True


def begin_undo(
    connection: Connection[Any],
    incident_id: UUID,
    actor: str,
    plan: PlanPortions,
    seconds: float = STEPS_SECONDS,
) -> Sequence[Message]:
    """Begin to take an incident back that is stopped, in the caller's transaction.

    One that is being taken back, or of which nothing is left to be, stays as it is.
    Returns what to publish once that is committed.

    Raises:
        Unavailable: a step is still at its users; repeat it.
    """
    [incident] = _run(connection, "take", id=incident_id, tenant=None)
    if not shut(connection, incident_id, seconds):
        raise Unavailable("a step is still at the users of this incident: repeat this")
    if _run(connection, "is_under_way", id=incident["undo_id"]):
        return ()
    [found] = _run(connection, "left_to_undo", id=incident_id)
    if not found["left"]:
        return ()
    undo_id = uuid4()
    dealt = portions(incident_id, found["positions"])
    workflow = NewWorkflow(undo_id, "lockdown_undo", incident["tenant"], None)
    messages = _start(connection, workflow, dealt, plan)
    _run(connection, "note_undo", id=incident_id, undo=undo_id, actor=actor)
    _note(connection, "incident undo", f"{incident_id} of {incident['tenant']}", actor)
    return messages


def find(
    connection: Connection[Any], incident_id: UUID, tenant: str | None = None
) -> dict[str, Any] | None:
    """How far an incident is, with some of those for whom nothing was done; None: there is no such incident."""
    found = _run(connection, "incidents", id=incident_id, tenant=tenant, limit=1)
    if not found:
        return None
    skipped: dict[str, list[str]] = {}
    for row in _run(connection, "skipped", id=incident_id, most=SHOWN):
        skipped.setdefault(row["outcome"], []).append(row["user_id"])
    return _document(found[0]) | {"skipped": skipped}


def latest(connection: Connection[Any], tenant: str | None, most: int) -> list[dict[str, Any]]:
    """The youngest incidents of a tenant or of all, and how far they are."""
    return [
        _document(row) for row in _run(connection, "incidents", id=None, tenant=tenant, limit=most)
    ]


def is_tenant(connection: Connection[Any], tenant: str) -> bool:
    """Whether there is such a tenant."""
    return bool(_run(connection, "tenant", tenant=tenant))


def _start(
    connection: Connection[Any],
    workflow: NewWorkflow,
    dealt: Sequence[Portion],
    plan: PlanPortions,
) -> Sequence[Message]:
    # Celery slows the commands down that begin nothing.
    from services.ledger.planning import unshown

    # Monitors would have as much of it to show as of all logins of an hour.
    planned = unshown(plan(dealt, label_of(workflow.id, NOBODY)))
    return start(connection, workflow, planned)


def _chosen(connection: Connection[Any], lockdown: Lockdown) -> tuple[list[str], int]:
    """Who it is about, and how many signed in from nobody knows where."""
    if lockdown.users is not None:
        return list(dict.fromkeys(lockdown.users)), 0
    if lockdown.since is None or not _places(lockdown):
        field = "since" if lockdown.since is None else "network"
        raise Unfit(field, "say since when, and from where: network, asn, country, or several")
    if lockdown.network is not None:
        _refuse_narrow(connection, lockdown.network, lockdown.since)
    query = {
        "tenant": lockdown.tenant,
        "network": str(lockdown.network) if lockdown.network else None,
        "since": lockdown.since,
        "most": MOST_USERS + 1,
    }
    if _places(lockdown) == ["network"]:
        return [row["user_id"] for row in _run(connection, "users_of_network", **query)], 0
    place = {"asn": lockdown.asn, "country": lockdown.country}
    [found] = _run(connection, "users_of_place", **query, **place)
    return found["users"], found["unplaced"]


def _places(lockdown: Lockdown) -> list[str]:
    """What is said of from where, by its names."""
    names = ("network", "asn", "country")
    return [name for name in names if getattr(lockdown, name) is not None]


def _refuse_narrow(
    connection: Connection[Any], network: IPv4Network | IPv6Network, since: datetime
) -> None:
    kept = _KEPT_PREFIX[network.version]
    if network.prefixlen > kept and _run(connection, "truncated_until", since=since):
        raise Unfit(
            "network",
            f"addresses of that time are kept as networks of /{kept} alone: use one of those, or a later time",
        )


def _why_nobody(connection: Connection[Any], lockdown: Lockdown, unplaced: int) -> str:
    if lockdown.users is not None:
        return "none of these users has ever logged in"
    if lockdown.asn and not _run(connection, "provider_known", tenant=lockdown.tenant):
        return (
            "no sign-in's provider is known: DOORBELL_NETWORK_DATABASES of the workers has to name"
            " a database with them, and counts from then on"
        )
    nobody = "nobody signed in from there since then"
    return f"{nobody} ({unplaced:,} from nobody knows where)" if unplaced else nobody


def _document(row: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in row.items() if key not in _INNER}
    counts = row["counts"] | {"notices": row["notices"], "notices_sent": row["sent"]}
    return kept | {"state": _state(row), "counts": counts}


_INNER = ("undo_id", "undo_state", "open", "given_up", "notices", "sent")


def _state(row: dict[str, Any]) -> State:
    if row["undo_id"] is not None:
        ended: dict[str | None, State] = {"accepted": "undoing", "failed": "undo_failed"}
        return ended.get("failed" if row["undo_state"] == "dead" else row["undo_state"], "undone")
    if row["stopped_at"] is not None:
        return "stopped"
    if row["open"]:
        return "running"
    return "failed" if row["given_up"] else "done"


def _note(connection: Connection[Any], command: str, subject: str, actor: str) -> None:
    _run(connection, "note", command=command, subject=subject, actor=actor)


def _run(connection: Connection[Any], name: str, **values: object) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(_SQL[name], values)
        return cursor.fetchall() if cursor.description else []
