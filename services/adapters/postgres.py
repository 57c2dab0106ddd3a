"""The product's reads and writes on a PostgreSQL connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from psycopg import Connection

from services.adapters.history_rows import PostgresHistory
from services.adapters.incident_rows import PostgresIncidents
from services.adapters.rows import Row
from services.domain.device import Device
from services.domain.digest import DeviceOfDay, Digest
from services.domain.model import Channel, DeviceCheck, Login, SwitchName
from services.domain.network import Network
from services.domain.policy import DEFAULT, Reason, stored_policy
from services.handlers.ports import Directly, Transaction
from services.handlers.records import (
    Contact,
    DayOfUser,
    FailedStep,
    Fate,
    Flip,
    ForDigest,
    Judgement,
    Look,
    NewDevice,
    NewEvent,
    NewNotice,
    Notice,
    SavedLogin,
    Sighting,
)

ASK_AGAIN_SECONDS = 60.0
"""So long a login stays without a score before it is asked about again; longer than all of a step's retries."""
_LONGEST_PAUSE_SECONDS = 12 * 3600.0
_ASK_FOR_SECONDS = 7 * 86400.0
"""Of what is older than this a late verdict would help nobody."""


def directly(connect: Callable[[], AbstractContextManager[Connection[Any]]]) -> Directly:
    """Calls that each commit by themselves, on a connection that `connect` lends for that."""

    @contextmanager
    def lend() -> Iterator[Transaction]:
        with connect() as connection:
            yield PostgresTransaction(connection)

    return lend


class PostgresTransaction(PostgresHistory, PostgresIncidents):
    """Implements `services.handlers.ports.Transaction`; whoever owns the connection commits."""

    def logins(self, workflow_ids: Sequence[UUID]) -> Mapping[UUID, Login]:
        rows = self._run("logins", workflow_ids=list(workflow_ids))
        return {row["workflow_id"]: Login(**row) for row in rows}

    def devices(self, looks: Sequence[Look]) -> Mapping[UUID, Sequence[Device]]:
        found: dict[UUID, list[Device]] = {look.workflow_id: [] for look in looks}
        users: dict[str, Any] = {
            "tenant_ids": [look.tenant_id for look in looks],
            "user_ids": [look.user_id for look in looks],
        }
        self._run("lock_users", **users)
        # A statement of its own: its snapshot sees what the lock was waited for.
        rows = self._run(
            "devices",
            **users,
            workflow_ids=list(found),
            cookie_ids=[look.cookie_id for look in looks],
            fingerprints=[look.fingerprint for look in looks],
            browsers=[look.browser for look in looks],
            words=[look.words for look in looks],
        )
        for row in rows:
            found[row.pop("workflow_id")].append(Device(**row))
        return found

    def networks(
        self, users: Collection[tuple[str, str]]
    ) -> Mapping[tuple[str, str], Collection[Network]]:
        found: dict[tuple[str, str], list[Network]] = {}
        for row in self._run(
            "networks",
            tenant_ids=[tenant for tenant, _ in users],
            user_ids=[user for _, user in users],
        ):
            network = Network(row["country"], row["asn"])
            found.setdefault((row["tenant_id"], row["user_id"]), []).append(network)
        return found

    def add_networks(self, networks: Mapping[tuple[str, str, Network], UUID]) -> None:
        if networks:
            self._run(
                "add_networks",
                tenant_ids=[tenant for tenant, _, _ in networks],
                user_ids=[user for _, user, _ in networks],
                countries=[network.country for *_, network in networks],
                asns=[network.asn for *_, network in networks],
                workflow_ids=list(networks.values()),
            )

    def add_devices(self, devices: Sequence[NewDevice]) -> frozenset[UUID]:
        if not devices:
            return frozenset()
        rows = self._run(
            "add_devices",
            ids=[device.id for device in devices],
            tenant_ids=[device.tenant_id for device in devices],
            user_ids=[device.user_id for device in devices],
            fingerprints=[device.fingerprint for device in devices],
            descriptions=[device.description for device in devices],
            browsers=[device.traits.browser for device in devices],
            products=[device.traits.products for device in devices],
            systems=[device.traits.system for device in devices],
            models=[device.traits.model for device in devices],
            workflow_ids=[device.workflow_id for device in devices],
            seen_at=[device.seen_at for device in devices],
            signed_in=[device.is_signed_in for device in devices],
        )
        return frozenset(row["id"] for row in rows if row["first_of_user"])

    def see_devices(self, sightings: Collection[Sighting]) -> None:
        if sightings:
            self._run(
                "see_devices",
                ids=[seen.device_id for seen in sightings],
                seen_at=[seen.seen_at for seen in sightings],
                workflow_ids=[seen.signed_in for seen in sightings],
                browsers=[seen.traits.browser for seen in sightings],
                products=[seen.traits.products for seen in sightings],
                systems=[seen.traits.system for seen in sightings],
                models=[seen.traits.model for seen in sightings],
            )

    def keep_cookies(self, cookies: Mapping[tuple[str, str, UUID], UUID]) -> None:
        if cookies:
            self._run(
                "keep_cookies",
                tenant_ids=[tenant for tenant, _, _ in cookies],
                user_ids=[user for _, user, _ in cookies],
                cookie_ids=[cookie for _, _, cookie in cookies],
                device_ids=list(cookies.values()),
            )

    def brought_second_device(self, workflow_ids: Sequence[UUID]) -> AbstractSet[UUID]:
        rows = self._run("brought_second_device", workflow_ids=list(workflow_ids))
        return {row["workflow_id"] for row in rows}

    def contacts(
        self, workflow_ids: Sequence[UUID], *, with_earlier_logins: bool = False
    ) -> Mapping[UUID, Contact]:
        rows = self._run(
            "contacts",
            workflow_ids=list(workflow_ids),
            with_earlier_logins=with_earlier_logins,
            lock_from=DEFAULT.lock_from,
        )
        return {
            row["workflow_id"]: Contact(**(row | {"policy": stored_policy(row["policy"])}))
            for row in rows
        }

    def record_notices(self, notices: Sequence[NewNotice]) -> AbstractSet[UUID]:
        if not notices:
            return set()
        rows = self._run(
            "record_notices",
            ids=[n.id for n in notices],
            workflow_ids=[n.workflow_id for n in notices],
            reasons=[n.reason for n in notices],
            channels=[n.channel for n in notices],
            most_per_hour=[n.most_per_hour for n in notices],
            dry_runs=[n.is_dry_run for n in notices],
            incident_ids=[n.incident_id for n in notices],
        )
        return {row["id"] for row in rows if row["state"] != "dry_run"}

    def record_events(self, events: Sequence[NewEvent]) -> None:
        if events:
            self._run(
                "record_events",
                ids=[event.id for event in events],
                workflow_ids=[event.workflow_id for event in events],
                types=[event.type for event in events],
                data=[json.dumps(event.data) for event in events],
            )

    def fold(self, seconds: float) -> Mapping[UUID, Reason]:
        verdicts: dict[UUID, bool] = {}
        for row in self._run("fold", seconds=seconds):
            verdicts[row["last_id"]] = verdicts.get(row["last_id"], False) or row["is_verdict"]
        return {last: "verdict" if any_of else "new_device" for last, any_of in verdicts.items()}

    def notice(self, notice_id: UUID) -> Notice | None:
        rows = self._run("notice", notice_id=notice_id)
        return _notice(rows[0]) if rows else None

    def siblings(self, notice_id: UUID) -> Mapping[Channel, Fate]:
        return {row["channel"]: _fate(row) for row in self._run("siblings", notice_id=notice_id)}

    def take_bounced(self) -> Sequence[UUID]:
        return [row["id"] for row in self._run("take_bounced")]

    def claim_notice(self, notice_id: UUID, lease_seconds: float) -> tuple[bool, Notice | None]:
        rows = self._run("claim_notice", notice_id=notice_id, lease_seconds=lease_seconds)
        if not rows:
            return False, None
        return rows[0].pop("is_claimed"), _notice(rows[0])

    def note_sent(self, notice_id: UUID, receipt: str) -> None:
        self._run("note_sent", notice_id=notice_id, receipt=receipt)

    def note_not_sent(self, notice_id: UUID, error: str) -> None:
        self._run("note_not_sent", notice_id=notice_id, error=error)

    def note_canary(self) -> None:
        self._run("note_canary")

    def give_up_notice(self, notice_id: UUID, state: Literal["failed", "superseded"]) -> bool:
        return bool(self._run("give_up_notice", notice_id=notice_id, state=state))

    def settle_sent(self, receipts: Mapping[UUID, str]) -> None:
        self._run("settle_sent", notice_ids=list(receipts), receipts=list(receipts.values()))

    def record_receipts(self, notice_ids: Sequence[UUID]) -> AbstractSet[UUID]:
        rows = self._run("record_receipts", notice_ids=list(notice_ids))
        return {row["notice_id"] for row in rows}

    def addresses(self, workflow_ids: Sequence[UUID]) -> Mapping[UUID, str]:
        rows = self._run("addresses", workflow_ids=list(workflow_ids))
        return {row["workflow_id"]: row["ip"] for row in rows}

    def save_logins(
        self, checks: Sequence[DeviceCheck], networks: Mapping[UUID, Network]
    ) -> Mapping[UUID, ForDigest | None]:
        by_workflow = {it.workflow_id: it for it in checks if it.workflow_id in networks}
        where = [networks[workflow_id] for workflow_id in by_workflow]
        rows = self._run(
            "save_logins",
            workflow_ids=list(by_workflow),
            device_ids=[check.device_id for check in by_workflow.values()],
            new_device=[check.is_new for check in by_workflow.values()],
            countries=[network.country for network in where],
            asns=[network.asn for network in where],
            providers=[network.provider for network in where],
        )
        return {
            row.pop("workflow_id"): None if row["hour"] is None else ForDigest(**row)
            for row in rows
        }

    def put_into_digests(self, logins: Mapping[UUID, DayOfUser]) -> None:
        if logins:
            self._run(
                "put_into_digests",
                workflow_ids=list(logins),
                tenant_ids=[it.tenant_id for it in logins.values()],
                user_ids=[it.user_id for it in logins.values()],
                days=[it.day for it in logins.values()],
                due_at=[it.due_at for it in logins.values()],
            )

    def digest_devices(self, places: Sequence[tuple[UUID, int]]) -> Mapping[tuple[UUID, int], int]:
        rows = self._run(
            "digest_devices",
            workflow_ids=[workflow_id for workflow_id, _ in places],
            positions=[position for _, position in places],
        )
        return {(row["workflow_id"], row["position"]): row["logins"] for row in rows}

    def digest_others(self, workflow_ids: Sequence[UUID]) -> Mapping[UUID, tuple[int, int]]:
        rows = self._run("digest_others", workflow_ids=list(workflow_ids))
        return {row["workflow_id"]: (row["other_devices"], row["other_logins"]) for row in rows}

    def digests_told_in(self, workflow_ids: Sequence[UUID]) -> Mapping[UUID, UUID]:
        rows = self._run("digests_told_in", workflow_ids=list(workflow_ids))
        return {row["workflow_id"]: row["told_in"] for row in rows}

    def saved_logins(self, workflow_ids: Sequence[UUID]) -> Mapping[UUID, SavedLogin]:
        rows = self._run("saved_logins", workflow_ids=list(workflow_ids))
        return {row["workflow_id"]: SavedLogin(**row) for row in rows}

    def store_verdicts(self, judged: Sequence[Judgement]) -> Mapping[UUID, bool]:
        if not judged:
            return {}
        given = [it.verdict for it in judged]
        rows = self._run(
            "store_verdicts",
            workflow_ids=[v.workflow_id for v in given],
            levels=[v.level for v in given],
            actions=[v.action for v in given],
            scores=[v.score for v in given],
            reasons=[json.dumps(v.reasons) for v in given],
            model_versions=[v.model_version for v in given],
            request_ids=[v.request_id for v in given],
            switches=[",".join(it.switches) for it in judged],
            notices_due=[it.is_notice_due for it in judged],
            dry_runs=[it.is_dry_run for it in judged],
            ask_again_seconds=ASK_AGAIN_SECONDS,
        )
        return {row["workflow_id"]: row["is_late"] for row in rows}

    def claim_unscored(self, most: int) -> Mapping[UUID, int]:
        """Take logins that have no score, to ask about them now; how often each has been, this time included.

        At most `most` are under way, and none is taken while the breaker is open. Each is
        left alone for a minute, then for twice as long as before, up to twelve hours, for a
        week. Those that were under way at the last time are not taken.
        """
        rows = self._run(
            "claim_unscored",
            most=most,
            ask_again_seconds=ASK_AGAIN_SECONDS,
            longest_pause_seconds=_LONGEST_PAUSE_SECONDS,
            longest_seconds=_ASK_FOR_SECONDS,
        )
        return {row["workflow_id"]: row["asks"] for row in rows}

    def ask_no_more(self, workflow_ids: Sequence[UUID]) -> None:
        self._run("ask_no_more", workflow_ids=list(workflow_ids))

    def turn_on(self, flips: Sequence[Flip]) -> AbstractSet[tuple[UUID, SwitchName]]:
        if not flips:
            return set()
        users = {
            "tenant_ids": [f.tenant_id for f in flips],
            "user_ids": [f.user_id for f in flips],
        }
        self._run("expire_switches", **users)
        rows = self._run(
            "turn_on",
            **users,
            names=[f.name for f in flips],
            workflow_ids=[f.workflow_id for f in flips],
            reasons=[f.reason for f in flips],
            cooldowns=[f.cooldown_seconds for f in flips],
            expiries=[f.expire_seconds for f in flips],
        )
        if withheld := [row for row in rows if row["is_withheld"]]:
            self._run(
                "note_withheld",
                workflow_ids=[row["workflow_id"] for row in withheld],
                names=[row["name"] for row in withheld],
            )
        return {(row["workflow_id"], row["name"]) for row in rows if not row["is_withheld"]}

    def expire_switches(self) -> int:
        return len(self._run("expire_switches", tenant_ids=None, user_ids=None))

    def note_failed(self, failures: Sequence[FailedStep]) -> None:
        self._run(
            "note_failed",
            workflow_ids=[f.workflow_id for f in failures],
            levels=[f.level for f in failures],
            step_ids=[f.step_id for f in failures],
        )


def _notice(row: Row) -> Notice:
    return Notice(**(row | {"digest": _digest(row["digest"])}))


def _digest(found: Mapping[str, Any] | None) -> Digest | None:
    if found is None:
        return None
    devices = [
        DeviceOfDay(**(it | {"occurred_at": datetime.fromisoformat(it["occurred_at"])}))
        for it in found["devices"]
    ]
    day = date.fromisoformat(found["day"])
    return Digest(day, devices, found["other_devices"] or 0, found["other_logins"] or 0)


def _fate(row: Mapping[str, Any]) -> Fate:
    if row["is_bounced"] or row["state"] in ("failed", "superseded", "dry_run"):
        return "lost"
    return "reached" if row["state"] == "sent" else "under_way"
