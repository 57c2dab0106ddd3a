"""`doorbell mail bounced`: mails that their server took, and that came back."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from email import message_from_bytes, message_from_string
from email.message import EmailMessage, Message
from email.policy import default
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from services.cli.database import connected, fetch
from services.cli.endpoints import find
from services.cli.output import AsJson, print_json
from services.domain.errors import ConfigurationError

app = typer.Typer(help="Mails that came back.", no_args_is_help=True)

_LONGEST = 4 * 1024 * 1024
_STATUS = re.compile(r"[45]\.[0-9]{1,3}\.[0-9]{1,3}")
_OURS = re.compile(r"<([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})@doorbell>")


@dataclass(frozen=True, slots=True)
class Bounce:
    """A notice whose mail was not delivered; status: why (RFC 3463), of which 5.x.x is for good."""

    notice_id: UUID
    status: str


def read_bounce(data: bytes) -> Bounce | None:
    """What a delivery status notification (RFC 3464) says of one of our mails.

    None: it is none, it says that a mail is late or was delivered, or its mail is not of ours.
    """
    mail = message_from_bytes(data, policy=default)
    assert isinstance(mail, EmailMessage)
    if mail.get_content_type() != "multipart/report":
        return None
    parts = [part for part in mail.walk() if part is not mail]
    failed = [status for part in parts if (status := _failure(part))]
    ours = [notice for part in parts if (notice := _notice(part))]
    return Bounce(ours[0], failed[0]) if failed and ours else None


@app.command("bounced")
def note_bounced(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Mails, each a file; without any, one is read from standard input."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take mails that came back to DOORBELL_MAIL_FROM: their users are told over the next channel.

    An address whose mails are refused for good (5.x.x) gets no more for a month. What is no such mail is left
    alone, for all sorts of mail come to that address. The same one again changes nothing.
    """
    mails = [(str(path), _read(path)) for path in files or ()] or [
        ("-", sys.stdin.buffer.read(_LONGEST))
    ]
    noted = []
    with connected(find().database_url) as connection:
        for name, data in mails:
            bounce = read_bounce(data)
            rows: list[dict[str, Any]] = []
            if bounce is not None:
                rows = fetch(
                    connection, "note_bounce", notice=bounce.notice_id, status=bounce.status
                )
            noted.append({"file": name, "is_noted": bool(rows)} | _shown(bounce))
    if as_json:
        print_json(noted)
        return
    for row in noted:
        what = (
            f"{row['notice_id']} {row['status']}"
            if "status" in row
            else "no mail of ours came back"
        )
        typer.echo(f"{row['file']}: {what}{'' if row['is_noted'] else ': nothing is changed'}")


def _shown(bounce: Bounce | None) -> dict[str, Any]:
    return {} if bounce is None else {"notice_id": str(bounce.notice_id), "status": bounce.status}


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error


def _failure(part: Message) -> str | None:
    """The status of a recipient who was not reached, in a part with delivery statuses."""
    if part.get_content_type() != "message/delivery-status":
        return None
    blocks = part.get_payload()
    for block in blocks if isinstance(blocks, list) else []:
        if isinstance(block, Message) and str(block.get("Action", "")).strip().lower() == "failed":
            found = _STATUS.match(str(block.get("Status", "")).strip())
            return found[0] if found else "5.0.0"
    return None


def _notice(part: Message) -> UUID | None:
    """The notice of the mail that came back, of which the notification has the headers or the whole."""
    returned: Any = None
    payload = part.get_payload()
    if part.get_content_type() == "message/rfc822" and isinstance(payload, list) and payload:
        returned = payload[0]
    elif part.get_content_type() == "text/rfc822-headers":
        returned = message_from_string(str(payload), policy=default)
    found = _OURS.search(str(returned["Message-ID"])) if returned is not None else None
    return UUID(found[1]) if found else None
