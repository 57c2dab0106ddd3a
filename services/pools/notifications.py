"""The pool that decides on notices and sends them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from services.domain.incident import Slice
from services.domain.model import DeviceCheck
from services.domain.outcome import Outcome, Wire
from services.handlers.deliver_notice import deliver_notice as deliver
from services.handlers.digest import record_digests
from services.handlers.lock_down import notify_switched as notify_switched_users
from services.handlers.notify_user import notify_plainly as notify_plainly_users
from services.handlers.notify_user import notify_users
from services.handlers.ports import Transaction
from services.handlers.settle_notice import record_receipts, try_next_channels
from services.handlers.tell_application import tell_application as tell
from services.pools.wiring import Wiring
from services.runner.task import Steps

DELIVERED_AT_ONCE = 32
"""Notices, by a process. Mail servers allow a client few dozens of connections."""

TOLD_AT_ONCE = 224
"""Applications, by a process: those that hang leave notices their places."""


def register(steps: Steps, wiring: Wiring) -> None:
    """Declare the pool's steps."""
    _register_sending(steps, wiring)

    @steps.batch("notifications.notify_user")
    def notify_user(checks: Sequence[Wire], tx: Transaction) -> Sequence[Outcome]:
        """Which notices are due for this device?"""
        return notify_users([DeviceCheck.from_message(check) for check in checks], tx)

    @steps.batch("notifications.record_digest")
    def record_digest(digests: Sequence[Sequence[Wire]], tx: Transaction) -> Sequence[Outcome]:
        """Body of the chord over a day's devices: the mail that tells of them is due."""
        return record_digests(digests, tx)

    @steps.batch("notifications.notify_plainly")
    def notify_plainly(calls: Sequence[tuple[str, str]], tx: Transaction) -> Sequence[Outcome]:
        """Error callback of `notify_user`: the user is told all the same."""
        return notify_plainly_users([UUID(workflow_id) for _, workflow_id in calls], tx)

    @steps.batch("notifications.notify_switched")
    def notify_switched(portions: Sequence[Wire], tx: Transaction) -> Sequence[Outcome]:
        """Tell users that an incident's switch was turned on for them."""
        return notify_switched_users([Slice.from_message(users) for users in portions], tx)


def _register_sending(steps: Steps, wiring: Wiring) -> None:
    @steps.io("notifications.deliver_notice", at_once=DELIVERED_AT_ONCE)
    def deliver_notice(notice_id: str) -> Outcome:
        """Send one recorded notice over its channel."""
        return deliver(UUID(notice_id), wiring.directly, wiring.senders)

    @steps.batch("notifications.record_receipt")
    def record_receipt(receipts: Sequence[Wire], tx: Transaction) -> Sequence[Outcome]:
        """`link` of `deliver_notice`: the receiver took it."""
        return record_receipts([(UUID(r["notice_id"]), r["receipt"]) for r in receipts], tx)

    @steps.batch("notifications.try_next_channel")
    def try_next_channel(notice_ids: Sequence[str], tx: Transaction) -> Sequence[Outcome]:
        """`link_error` of `deliver_notice`: it could not be sent over this channel."""
        return try_next_channels([UUID(notice_id) for notice_id in notice_ids], tx)

    @steps.io("notifications.tell_application", at_once=TOLD_AT_ONCE)
    def tell_application(receiver: Wire) -> Outcome:
        """Send an application what it is to hear."""
        return tell(receiver["tenant_id"], receiver["turn"], wiring.events, wiring.webhooks)
