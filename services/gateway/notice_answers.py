"""What a link of a notice does, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from services.domain.model import SwitchName
from services.domain.network import Network
from services.domain.notice_link import NoticeLink
from services.domain.policy import disowned, stored_policy
from services.queries import load_queries

_SQL = {
    name: text.encode()
    for name, text in (
        load_queries(__package__, "notices.sql") | load_queries("services", "switches.sql")
    ).items()
}


@dataclass(frozen=True, slots=True)
class Noticed:
    """The sign-in that a notice is about, whether its link has acted before, and its user's switches that are on.

    network: what was known of the address when the sign-in was stored.
    """

    workflow_id: UUID
    tenant_id: str
    tenant_name: str
    user_id: str
    user_agent: str
    occurred_at: datetime
    ip: str
    auth_method: str | None
    locale: str | None
    time_zone: str | None
    network: Network
    link_key: UUID
    policy: str | None
    is_answered: bool
    switches: Sequence[SwitchName]


def find(connection: psycopg.Connection[Any], link: NoticeLink) -> Noticed | None:
    """The notice of a link; None: there is none, or its tenant has not signed the link."""
    rows = _run(connection, "noticed", notice=link.notice_id, act=link.act)
    found = _noticed(rows[0]) if rows else None
    return found if found and link.is_signed_with(found.link_key) else None


def act_on(
    connection: psycopg.Connection[Any], link: NoticeLink, noticed: Noticed
) -> Sequence[SwitchName] | None:
    """Keep the answer: secure an account whose sign-in is disowned, or send no more mails. Each link acts once.

    Returns the switches that are to be on for it; None: the link has acted before.
    """
    tenant, user = noticed.tenant_id, noticed.user_id
    if link.act == "unsubscribe":
        # Again too: somebody may have subscribed the user since.
        _run(connection, "unsubscribe", tenant=tenant, user=user)
    if not _run(connection, "answer", notice=link.notice_id, act=link.act):
        return None
    if link.act != "disown":
        return ()
    switches = disowned(stored_policy(noticed.policy), user)
    for name in ("forget_device", "forget_network"):
        _run(connection, name, tenant=tenant, user=user, workflow=noticed.workflow_id)
    _run(
        connection,
        "turn_on_for_good",
        tenants=[tenant] * len(switches),
        users=[user] * len(switches),
        names=list(switches),
        reason="disowned by the user",
        actor=None,
    )
    return switches


def _noticed(row: dict[str, Any]) -> Noticed:
    network = Network(row.pop("country"), row.pop("asn"), row.pop("provider"))
    return Noticed(network=network, **row)


def _run(connection: psycopg.Connection[Any], name: str, **values: object) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(_SQL[name], values)
        return cursor.fetchall() if cursor.description else []
