"""The pool that runs what beat schedules and notes what failed."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from services.domain.incident import Slice
from services.domain.outcome import Done, Outcome, Wire
from services.handlers.digest import digest_devices, digest_others
from services.handlers.erase_user import certify_erasure as certify
from services.handlers.erase_user import clear_letters as clear
from services.handlers.erase_user import erase_exports as erase_copies
from services.handlers.erase_user import erase_user as erase
from services.handlers.export_user import export_rows as collect_rows
from services.handlers.export_user import pack_export as pack
from services.handlers.lock_down import switch_back as switch_users_back
from services.handlers.lock_down import switch_users as switch_users_on
from services.handlers.note_failed import note_failed
from services.handlers.notify_user import tell_folded as tell_folded_logins
from services.handlers.ports import Transaction
from services.handlers.records import FailedStep
from services.handlers.settle_notice import answer_bounces as answer_bounced_notices
from services.pools.wiring import Wiring
from services.runner.task import Steps


def register(steps: Steps, wiring: Wiring) -> None:
    """Declare the pool's steps."""
    _register_callbacks(steps)
    _register_jobs(steps, wiring)
    _register_digests(steps, wiring)
    _register_privacy(steps, wiring)
    _register_erasure(steps, wiring)
    _register_incidents(steps)
    _register_canary(steps, wiring)


def _register_callbacks(steps: Steps) -> None:
    @steps.batch("maintenance.note_failed_group")
    def note_failed_group(calls: Sequence[tuple[str, str]], tx: Transaction) -> Sequence[Outcome]:
        """Error callback of the group: one of its members failed for good."""
        return note_failed([FailedStep(UUID(w), "group", step) for step, w in calls], tx)

    @steps.batch("maintenance.note_failed_workflow")
    def note_failed_workflow(
        calls: Sequence[tuple[str, str]], tx: Transaction
    ) -> Sequence[Outcome]:
        """Error callback of the whole chain."""
        return note_failed([FailedStep(UUID(w), "chain", step) for step, w in calls], tx)


def _register_jobs(steps: Steps, wiring: Wiring) -> None:
    @steps.io("maintenance.relay")
    def relay(_: object) -> Outcome:
        """Publish what was committed and has no confirm."""
        return Done({"published": wiring.relay()})

    @steps.io("maintenance.reconcile")
    def reconcile(_: object) -> Outcome:
        """Repair what is stuck."""
        return Done(wiring.reconcile())

    @steps.batch("maintenance.expire_switches")
    def expire_switches(ticks: Sequence[object], tx: Transaction) -> Sequence[Outcome]:
        """Turn off the switches whose time is over."""
        expired = tx.expire_switches()
        return [Done({"expired": expired}) for _ in ticks]

    @steps.batch("maintenance.tell_folded")
    def tell_folded(ticks: Sequence[object], tx: Transaction) -> Sequence[Outcome]:
        """Tell users of sign-ins that were put aside."""
        done = tell_folded_logins(tx)
        return [done, *(Done({"users": 0}) for _ in ticks[1:])]

    @steps.batch("maintenance.answer_bounces")
    def answer_bounces(ticks: Sequence[object], tx: Transaction) -> Sequence[Outcome]:
        """Look for the next channel of notices whose mails came back."""
        done = answer_bounced_notices(tx)
        return [done, *(Done({"bounces": 0}) for _ in ticks[1:])]

    @steps.io("maintenance.rescore")
    def rescore(_: object) -> Outcome:
        """Have logins without a score asked about again, once the outlier API answers."""
        return Done({"asked_again": wiring.rescore()})

    @steps.io("maintenance.tell_applications")
    def tell_applications(_: object) -> Outcome:
        """Have applications told what has happened since."""
        return Done({"receivers": wiring.tell_applications()})


def _register_digests(steps: Steps, wiring: Wiring) -> None:
    @steps.io("maintenance.begin_digests")
    def begin_digests(_: object) -> Outcome:
        """Have users told of the day before whose hour for it has come."""
        return Done({"digests": wiring.begin_digests()})

    @steps.batch("maintenance.digest_device")
    def digest_device(places: Sequence[Wire], tx: Transaction) -> Sequence[Outcome]:
        """Sum up a day's sign-ins on one device."""
        return digest_devices([(UUID(it["workflow_id"]), it["position"]) for it in places], tx)

    @steps.batch("maintenance.digest_others")
    def digest_rest(digests: Sequence[Wire], tx: Transaction) -> Sequence[Outcome]:
        """Count a day's sign-ins on all devices that have no step of their own."""
        return digest_others([UUID(digest["workflow_id"]) for digest in digests], tx)


def _register_privacy(steps: Steps, wiring: Wiring) -> None:
    @steps.io("maintenance.export_rows")
    def export_rows(export: Wire) -> Outcome:
        """Put aside what the database has about a user."""
        return collect_rows(UUID(export["workflow_id"]), wiring.exports)

    @steps.io("maintenance.pack_export")
    def pack_export(stores: Sequence[Wire]) -> Outcome:
        """Body of the chord over all stores: pack what they have put aside."""
        return pack(UUID(stores[0]["workflow_id"]), wiring.exports)

    @steps.io("maintenance.forget_old")
    def forget_old(_: object) -> Outcome:
        """Truncate and delete what has been kept for long enough."""
        return Done(wiring.forget_old())


def _register_erasure(steps: Steps, wiring: Wiring) -> None:
    @steps.io("maintenance.erase_exports")
    def erase_exports(erasure: Wire) -> Outcome:
        """Delete what was exported for a user."""
        return erase_copies(UUID(erasure["erasure_id"]), wiring.erasures)

    @steps.io("maintenance.erase_user")
    def erase_user(erasure: Wire) -> Outcome:
        """Delete what is kept about a user."""
        return erase(UUID(erasure["erasure_id"]), wiring.erasures)

    @steps.io("maintenance.clear_letters")
    def clear_letters(erasure: Wire) -> Outcome:
        """Take a user's messages out of the dead-letter queues."""
        return clear(UUID(erasure["erasure_id"]), wiring.erasures, wiring.take_out)

    @steps.io("maintenance.certify_erasure")
    def certify_erasure(erasure: Wire) -> Outcome:
        """Look into every place again, and certify that nothing is left of a user."""
        return certify(UUID(erasure["erasure_id"]), wiring.erasures, wiring.take_out)


def _register_incidents(steps: Steps) -> None:
    @steps.batch("maintenance.switch_users")
    def switch_users(slices: Sequence[Wire], tx: Transaction) -> Sequence[Outcome]:
        """Mapped over a portion's slices: turn an incident's switch on for users."""
        return switch_users_on([Slice.from_message(users) for users in slices], tx)

    @steps.batch("maintenance.switch_back")
    def switch_back(slices: Sequence[Wire], tx: Transaction) -> Sequence[Outcome]:
        """Mapped over a portion's slices: take back what an incident did to users' switches."""
        return switch_users_back([Slice.from_message(users) for users in slices], tx)


def _register_canary(steps: Steps, wiring: Wiring) -> None:
    @steps.io("maintenance.canary")
    def canary(_: object) -> Outcome:
        """Send the canary on its way."""
        wiring.canary()
        return Done({})

    @steps.batch("maintenance.canary_returned")
    def canary_returned(canaries: Sequence[object], tx: Transaction) -> Sequence[Outcome]:
        """Note that it went through every queue."""
        tx.note_canary()
        return [Done({}) for _ in canaries]

    @steps.batch("maintenance.probe")
    def probe(queues: Sequence[str], tx: Transaction) -> Sequence[Outcome]:
        """Show that a queue moves: whatever waited in it before has been delivered."""
        return [Done({"queue": queue}) for queue in queues]
