"""Compares a live broker with the topology."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from routing.definitions import definitions
from routing.management import Api
from routing.permissions import CELERY_EXCHANGES, CELERY_QUEUES, permissions
from routing.topology import Topology

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the broker is not as the topology says.

    kind: the broker lacks the thing, has one too many, or has it otherwise.
    thing: `queue`, `exchange`, `binding`, `vhost`, `policy`, `user`, `permission` or `topic permission`.
    """

    kind: Literal["missing", "extra", "different"]
    thing: str
    name: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.thing} {self.name}" + (f": {self.detail}" if self.detail else "")


@dataclass(frozen=True, slots=True)
class _Thing:
    """How one kind of thing is told apart and compared."""

    label: str
    name: Callable[[Row], str]
    facts: Sequence[str]


_QUEUE = _Thing("queue", lambda row: str(row["name"]), ("durable", "auto_delete"))
_EXCHANGE = _Thing(
    "exchange",
    lambda row: str(row["name"]),
    ("type", "durable", "auto_delete", "internal"),
)
_BINDING = _Thing(
    "binding",
    lambda r: (
        f"{r['source']} -> {r['destination_type']} {r['destination']} with key {r['routing_key']}"
    ),
    (),
)
_USER = _Thing("user", lambda row: str(row["name"]), ("tags",))
_PERMISSION = _Thing(
    "permission",
    lambda row: f"of {row['user']} in {row['vhost']}",
    ("configure", "write", "read"),
)
_TOPIC_PERMISSION = _Thing(
    "topic permission",
    lambda row: f"of {row['user']} in {row['vhost']} on {row['exchange']}",
    ("write", "read"),
)


def differences(topology: Topology, api: Api, *, users: bool = True) -> list[Difference]:
    """Return every difference between the broker and the topology; none means they agree.

    Celery's own control and event queues, which come and go, and the account that asks are no
    difference.

    Args:
        users: compare users and permissions too, which only an administrator may read.

    Raises:
        Refused: the account may not read something.
        Unavailable: the broker did not answer.
    """
    found: list[Difference] = []
    if topology.vhost in {row["name"] for row in api.rows("vhosts")}:
        found += _object_differences(topology, api)
    else:
        found.append(Difference("missing", "vhost", topology.vhost))
    if users:
        found += _user_differences(topology, api)
    return found


def _object_differences(topology: Topology, api: Api) -> Iterator[Difference]:
    wanted = definitions(topology)
    vhost = topology.vhost
    yield from _compare(
        _EXCHANGE, wanted["exchanges"], _own_exchanges(api.rows("exchanges", vhost))
    )
    yield from _compare(_QUEUE, wanted["queues"], _own_queues(api.rows("queues", vhost)))
    yield from _compare(_BINDING, wanted["bindings"], _own_bindings(api.rows("bindings", vhost)))
    for row in api.rows("policies", vhost):
        yield Difference("extra", "policy", str(row["name"]), "arguments stand in the definitions")


def _user_differences(topology: Topology, api: Api) -> Iterator[Difference]:
    wanted = permissions(topology)
    ours = {str(user["name"]) for user in wanted["users"]}
    asking = {api.user} - ours
    there = [row for row in api.rows("users") if row["name"] not in asking]
    yield from _compare(_USER, wanted["users"], there)
    for thing, key, path in (
        (_PERMISSION, "permissions", "permissions"),
        (_TOPIC_PERMISSION, "topic_permissions", "topic-permissions"),
    ):
        there = [
            row
            for row in api.rows(path)
            if row["user"] in ours or (row["vhost"] == topology.vhost and row["user"] not in asking)
        ]
        yield from _compare(thing, wanted[key], there)


def _compare(thing: _Thing, wanted: Iterable[Row], there: Iterable[Row]) -> Iterator[Difference]:
    expected = {thing.name(row): row for row in wanted}
    actual = {thing.name(row): row for row in there}
    for name, row in expected.items():
        if name not in actual:
            yield Difference("missing", thing.label, name)
            continue
        for fact in thing.facts:
            yield from _compare_value(thing, name, fact, row[fact], actual[name][fact])
        yield from _compare_arguments(thing, name, row, actual[name])
    for name in actual:
        if name not in expected:
            yield Difference("extra", thing.label, name)


def _compare_arguments(thing: _Thing, name: str, wanted: Row, there: Row) -> Iterator[Difference]:
    expected, actual = wanted.get("arguments", {}), there.get("arguments", {})
    for key in sorted({*expected, *actual}):
        values = (source.get(key, "not set") for source in (expected, actual))
        yield from _compare_value(thing, name, f"argument {key}", *values)


def _compare_value(
    thing: _Thing, name: str, fact: str, wanted: object, there: object
) -> Iterator[Difference]:
    if wanted != there:
        detail = f"{fact} is {there!r}, should be {wanted!r}"
        yield Difference("different", thing.label, name, detail)


def _own_exchanges(rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        name = row["name"]
        if name and not name.startswith("amq.") and name not in CELERY_EXCHANGES:
            yield row


def _own_queues(rows: Iterable[Row]) -> Iterator[Row]:
    return (row for row in rows if not CELERY_QUEUES.fullmatch(row["name"]))


def _own_bindings(rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        # Every queue is bound to the default exchange, which has no name.
        if row["source"] and row["source"] not in CELERY_EXCHANGES:
            yield row
