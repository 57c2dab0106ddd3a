"""What the pools' tasks reach outside with; `services.bootstrap` fills it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.domain.outcome import Wire
from services.handlers.channels import Senders
from services.handlers.erase_user import BeginErasure, TakeOut
from services.handlers.event_ports import BeginEvents
from services.handlers.export_user import BeginExports
from services.handlers.ports import Breaker, Directly, Networks, OutlierApi, WebhookSender


@dataclass(frozen=True, slots=True)
class Wiring:
    """The adapters of one process. None connects before its first use.

    relay: publishes what was committed without a confirm; returns how many.
    reconcile: one sweep of the reconciler; returns what it repaired.
    canary: sends a canary through every queue.
    forget_old: truncates and deletes what has been kept for long enough; returns how much.
    tell_applications: has applications told what is due for them; returns how many.
    begin_digests: has users told of the day before; returns how many.
    rescore: has logins without a score asked about again; returns how many.
    """

    directly: Directly
    events: BeginEvents
    erasures: BeginErasure
    take_out: TakeOut
    exports: BeginExports
    networks: Networks
    senders: Senders
    webhooks: WebhookSender
    outlier_api: OutlierApi
    breaker: Breaker
    relay: Callable[[], int]
    reconcile: Callable[[], Wire]
    canary: Callable[[], object]
    rescore: Callable[[], int]
    begin_digests: Callable[[], int]
    tell_applications: Callable[[], int]
    forget_old: Callable[[], Wire]
