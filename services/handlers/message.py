"""The words of a notice: a mail for people, a JSON body for applications."""

from __future__ import annotations

import html
import json

from services.domain.errors import Refused
from services.handlers.apply_verdict import is_locked_by
from services.handlers.fingerprint import describe
from services.handlers.ports import Delivery, Mail, Notice


def compose_mail(notice: Notice) -> Mail:
    """The mail of a notice; its Message-ID is made of the notice's id.

    Raises:
        Refused: the login has no address.
    """
    if not notice.email:
        raise Refused(f"notice {notice.id} goes by mail, but its login has no address")
    subject, opening, advice = _words(notice)
    facts = [
        ("Account", notice.user_id),
        ("Device", describe(notice.user_agent)),
        ("Time", f"{notice.occurred_at:%d %B %Y, %H:%M %Z}".strip()),
        ("Address", notice.ip),
    ]
    text = "\n".join([opening, "", *(f"{name}: {value}" for name, value in facts), "", advice, ""])
    rows = "".join(
        f"<tr><th align=left>{name}</th><td>{html.escape(value)}</td></tr>" for name, value in facts
    )
    body = f"<p>{html.escape(opening)}</p><table>{rows}</table><p>{html.escape(advice)}</p>"
    return Mail(
        message_id=f"<{notice.id}@doorbell>",
        recipient=notice.email,
        subject=_one_line(subject),
        text=text,
        html=f"<!doctype html><html><body>{body}</body></html>",
    )


def compose_delivery(notice: Notice) -> Delivery:
    """The webhook call of a notice; its delivery id is the notice's, its body the same each time.

    Raises:
        Refused: the tenant has no webhook, or no secret to sign with.
    """
    if not notice.webhook_url or not notice.webhook_secret:
        raise Refused(
            f"tenant {notice.tenant_id} has no webhook_url or no webhook_secret: set both"
        )
    body: dict[str, object] = {
        "id": str(notice.id),
        "type": f"notice.{notice.reason}",
        "workflow_id": str(notice.workflow_id),
        "user_id": notice.user_id,
        "device": describe(notice.user_agent),
        "ip": notice.ip,
        "occurred_at": notice.occurred_at.isoformat(),
    }
    if notice.reason == "verdict":
        body |= {"level": notice.level, "locked": is_locked_by(notice.action)}
    return Delivery(
        id=str(notice.id),
        url=notice.webhook_url,
        secret=notice.webhook_secret,
        body=json.dumps(body, separators=(",", ":")).encode(),
    )


def _words(notice: Notice) -> tuple[str, str, str]:
    name = notice.tenant_name
    advice = "If this was you, there is nothing to do. If not, change your password at once."
    if notice.reason == "new_device":
        return (
            f"New sign-in to {name}",
            f"Your {name} account was used on a device that we have not seen before.",
            advice,
        )
    if is_locked_by(notice.action):
        advice = f"The account is locked. If this was you, ask {name} to unlock it."
    return (
        f"Unusual sign-in to {name}",
        f"A sign-in to your {name} account does not look like you.",
        advice,
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
