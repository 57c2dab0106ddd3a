"""Tells one application what has happened, by its webhook."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Literal

from services.domain.errors import Refused, Unavailable
from services.domain.outcome import Done, Outcome
from services.handlers.event_ports import ApplicationEvent, BeginEvents
from services.handlers.ports import WebhookSender
from services.handlers.records import Delivery

logger = logging.getLogger(__name__)

AT_ONCE = 8
"""Calls to one receiver side by side."""
ROUND_SECONDS = 6.0
"""No call begins later: the step ends in time even if the last ones hang."""
LEASE_SECONDS = 30.0
_LONGEST_CALL_SECONDS = 15.0

Told = Literal["sent", "refused", "put_off", "given_up"]
"""put_off: not answered, due again later; given_up: not answered for too long."""


def tell_application(
    tenant_id: str,
    turn: int,
    begin: BeginEvents,
    webhooks: WebhookSender,
    elapsed: Callable[[], float] = monotonic,
) -> Outcome:
    """Send what is due for this receiver, until nothing is, a few seconds are over, or it does not answer.

    Each event's attempt is committed before its call and the outcome after it:
    a process that dies in between can send those calls twice, each under its id.
    What the receiver does not answer is due again later; that is no error here.
    """
    began, counts = elapsed(), Counter[Told]()
    while not _is_silent(counts) and elapsed() - began < ROUND_SECONDS:
        claimed_at = elapsed()
        with begin() as store:
            events = store.claim_events(tenant_id, turn, AT_ONCE, LEASE_SECONDS)
        # Held up so long, somebody else may have the lease before the calls are over.
        if not events or elapsed() - claimed_at > LEASE_SECONDS - _LONGEST_CALL_SECONDS:
            break
        counts.update(_tell_all(events, begin, webhooks))
    with begin() as store:
        store.leave_receiver(
            tenant_id, turn, has_answered=not _is_silent(counts) if counts else None
        )
    return Done({"tenant_id": tenant_id, **{str(told): count for told, count in counts.items()}})


def _is_silent(counts: Counter[Told]) -> bool:
    return bool(counts["put_off"] or counts["given_up"])


def _tell_all(
    events: Sequence[ApplicationEvent], begin: BeginEvents, webhooks: WebhookSender
) -> list[Told]:
    with ThreadPoolExecutor(len(events)) as pool:
        return list(pool.map(lambda event: _tell(event, begin, webhooks), events))


def _tell(event: ApplicationEvent, begin: BeginEvents, webhooks: WebhookSender) -> Told:
    told: Told
    try:
        answer, told = webhooks.send(compose_event(event)), "sent"
    except Refused as error:
        answer, told = str(error), "refused"
    except Unavailable as error:
        answer, told = str(error), "put_off"
    try:
        with begin() as store:
            if told == "put_off":
                return "put_off" if store.put_off_event(event, answer) else "given_up"
            store.end_event(event.id, "sent" if told == "sent" else "given_up", answer)
    except Exception:  # one that cannot be noted is sent again, under its id, and holds up no other
        logger.exception("event %s was %s, which could not be noted", event.id, told)
    return told


def compose_event(event: ApplicationEvent) -> Delivery:
    """The webhook call of an event; its delivery id is the event's, its body the same each time.

    Raises:
        Refused: the tenant has no webhook any more.
    """
    if not event.webhook_url or not event.webhook_secret:
        raise Refused("there is no webhook any more")
    about = {
        "user_id": event.user_id,
        "workflow_id": str(event.workflow_id) if event.workflow_id else None,
        "event_id": event.event_id,
    }
    body = {
        "id": str(event.id),
        "type": event.type,
        "recorded_at": event.recorded_at.isoformat(),
        **{name: value for name, value in about.items() if value is not None},
        **event.data,
    }
    return Delivery(
        id=str(event.id),
        url=event.webhook_url,
        secret=event.webhook_secret,
        body=json.dumps(body, separators=(",", ":")).encode(),
    )
