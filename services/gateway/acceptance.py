"""Takes a list of logins into the ledger in one transaction, each under its key once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from services.domain.errors import Unavailable
from services.domain.model import Login
from services.gateway.tenant_keys import KeyChain, TenantKeys
from services.gateway.unplanned import leave_unplanned
from services.ledger.labels import label_of
from services.ledger.message import Message
from services.ledger.planning import Plan, unshown
from services.ledger.store import insert_workflows
from services.queries import load_queries

_SQL = {name: text.encode() for name, text in load_queries(__package__, "intake.sql").items()}


@dataclass(frozen=True, slots=True)
class Submission:
    """A valid login that asks to be accepted under `key`; its workflow's id is already chosen.

    device_cookie: as the device sent it, whoever made it. is_single: its sender reported it alone, so that it does not
    wait behind a flood.
    """

    login: Login
    key: str
    body_sha256: bytes
    device_cookie: str | None = None
    is_single: bool = True

    @property
    def id(self) -> UUID:
        """The workflow that this becomes when it is accepted."""
        return self.login.workflow_id

    @property
    def slot(self) -> tuple[str, str]:
        return self.login.tenant_id, self.key


@dataclass(frozen=True, slots=True)
class Answer:
    """What a submission came to.

    accepted: its workflow is in the ledger. repeated: the same login was accepted
    before, as this workflow. conflict: its key holds another login. gone: the
    same login was accepted, and retention has removed its workflow since.
    new_cookie: for a device that came without one of ours.
    """

    outcome: Literal["accepted", "repeated", "conflict", "gone"]
    workflow_id: UUID
    event_id: str
    state: str | None
    new_cookie: str | None = None


def accept(
    connection: psycopg.Connection[Any],
    submissions: Sequence[Submission],
    plan_login: Callable[[UUID, str], Plan],
    key_chain: KeyChain,
    is_shown: Callable[[], bool] = lambda: True,
    is_flooded: bool = False,
) -> tuple[list[Answer], list[Message]]:
    """Answer each submission, and return the messages to publish once the caller has committed.

    `plan_login` is given a workflow's id and the label of its steps. `is_shown` says
    of each new workflow whether monitors hear of all its steps. With `is_flooded`,
    logins of batches are accepted without steps (`services.gateway.unplanned`). Nothing is
    committed here. Of several submissions under one key, in this list or in other
    transactions, exactly one is accepted.
    """
    firsts: dict[tuple[str, str], Submission] = {}
    for submission in submissions:
        firsts.setdefault(submission.slot, submission)
    # Before any row is locked: planning takes longer than rows should stay so.
    keys = key_chain.of(connection, {first.login.tenant_id for first in firsts.values()})
    plans = {
        first.id: plan_login(
            first.id, label_of(first.id, keys[first.login.tenant_id].pseudonym(first.login.user_id))
        )
        for first in firsts.values()
        if first.is_single or not is_flooded
    }
    claimed = _claim(connection, list(firsts.values()))
    fresh = [first for first in firsts.values() if first.id in claimed]
    taken = [slot for slot, first in firsts.items() if first.id not in claimed]
    holders = _holders(connection, taken)
    for first in fresh:
        holders[first.slot] = _Holder(first.body_sha256, first.id, first.login.event_id, "accepted")
    messages: list[Message] = []
    if fresh:
        planned = [first.id for first in fresh if first.id in plans]
        for workflow in planned:
            if not is_shown():
                plans[workflow] = unshown(plans[workflow])
        _insert(connection, fresh, keys)
        insert_workflows(connection, [(workflow, plans[workflow]) for workflow in planned])
        leave_unplanned(connection, [first.id for first in fresh if first.id not in plans])
        messages = [message for workflow in planned for message in plans[workflow].messages]
    answers = [
        _answer(each, holders.get(each.slot), keys[each.login.tenant_id]) for each in submissions
    ]
    return answers, messages


_FORGOTTEN = b""
"""In the place of the digest of a body that was reported too long ago for its address to be kept."""


@dataclass(frozen=True, slots=True)
class _Holder:
    body_sha256: bytes
    workflow_id: UUID
    event_id: str | None
    state: str | None


def _answer(submission: Submission, holder: _Holder | None, keys: TenantKeys) -> Answer:
    if holder is None:
        raise Unavailable("retention removed this key at this moment; send the request again")
    event_id = holder.event_id or submission.login.event_id
    outcome: Literal["accepted", "repeated", "conflict", "gone"] = "repeated"
    if holder.workflow_id == submission.id:
        outcome = "accepted"
    elif holder.body_sha256 not in (submission.body_sha256, _FORGOTTEN):
        outcome = "conflict"
    elif holder.state is None:
        outcome = "gone"
    has_cookie = keys.cookie_id(submission.device_cookie) is not None
    return Answer(
        outcome,
        holder.workflow_id,
        event_id,
        holder.state,
        None if has_cookie else keys.make_cookie(holder.workflow_id),
    )


def _claim(connection: psycopg.Connection[Any], firsts: Sequence[Submission]) -> set[UUID]:
    values = {
        "tenants": [first.login.tenant_id for first in firsts],
        "keys": [first.key for first in firsts],
        "bodies": [first.body_sha256 for first in firsts],
        "workflows": [first.login.workflow_id for first in firsts],
    }
    return {row[0] for row in connection.execute(_SQL["claim_keys"], values)}


def _holders(
    connection: psycopg.Connection[Any], slots: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], _Holder]:
    if not slots:
        return {}
    values = {"tenants": [tenant for tenant, _ in slots], "keys": [key for _, key in slots]}
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_SQL["holders_of_keys"], values).fetchall()
    return {
        (row["tenant_id"], row["key"]): _Holder(
            bytes(row["body_sha256"]), row["workflow_id"], row["event_id"], row["state"]
        )
        for row in rows
    }


def _insert(
    connection: psycopg.Connection[Any],
    submissions: Sequence[Submission],
    keys: Mapping[str, TenantKeys],
) -> None:
    logins = [submission.login for submission in submissions]
    values: Mapping[str, Any] = {
        "workflows": [login.workflow_id for login in logins],
        "tenants": [login.tenant_id for login in logins],
        "events": [login.event_id for login in logins],
        "users": [login.user_id for login in logins],
        "times": [login.occurred_at for login in logins],
        "addresses": [login.ip for login in logins],
        "agents": [login.user_agent for login in logins],
        "cookies": [keys[it.login.tenant_id].cookie_id(it.device_cookie) for it in submissions],
        "methods": [login.auth_method for login in logins],
        "emails": [login.email for login in logins],
        "other_emails": [login.other_email for login in logins],
        "locales": [login.locale for login in logins],
        "zones": [login.time_zone for login in logins],
        "kinds": [login.kind for login in logins],
        "histories": [login.history for login in logins],
    }
    connection.execute(_SQL["insert_workflow_rows"], values)
    connection.execute(_SQL["insert_reported_logins"], values)
