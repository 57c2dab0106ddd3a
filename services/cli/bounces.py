"""`doorbell mail bounced`: mails that their server took, and that came back."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email import message_from_bytes, message_from_string
from email.message import Message
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
    # The parser's older policy takes any header as text; the newer one breaks on some.
    mail = message_from_bytes(data)
    if mail.get_content_type() != "multipart/report":
        return None
    parts = [part for part in mail.walk() if part is not mail]
    failed = [status for part in parts if (status := _failure(part))]
    ours = [notice for part in parts if (notice := _notice(part))]
    return Bounce(ours[0], failed[0]) if failed and ours else None


@app.command("bounced")
def note_bounced(
    places: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[MAILDIR|FILE]...",
            help="Maildirs, whose new mails are moved to `cur`; or mails, each a file; none: one from standard input.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take mails that came back to DOORBELL_MAIL_FROM: their users are told over the next channel.

    An address that does not exist (5.1.x) is avoided for a month, where there is another channel. What is no such
    mail is left alone, for all sorts of mail come to that address. The same one again changes nothing.
    """
    noted = []
    with connected(find().database_url) as connection:
        for name, data in _mails(places or []):
            bounce = read_bounce(data)
            is_noted = False
            if bounce is not None:
                with connection.transaction():
                    is_noted = bool(
                        fetch(
                            connection, "note_bounce", notice=bounce.notice_id, status=bounce.status
                        )
                    )
            noted.append({"file": name, "is_noted": is_noted} | _shown(bounce))
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


def _mails(places: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """Each mail with its name; one of a Maildir is moved when the next one is asked for."""
    if not places:
        yield "-", sys.stdin.buffer.read(_LONGEST)
    for place in places:
        if not place.is_dir():
            try:
                data = _read(place)
            except OSError as error:
                raise ConfigurationError(f"{place} cannot be read: {error.strerror}") from error
            yield str(place), data
            continue
        if not (place / "new").is_dir():
            raise ConfigurationError(f"{place} is no Maildir: it has no directory `new`")
        for path in sorted((place / "new").iterdir()):
            try:
                data = _read(path)
            except FileNotFoundError:
                continue  # a mail program has moved it
            yield str(path), data
            (place / "cur").mkdir(exist_ok=True)
            path.rename(place / "cur" / f"{path.name}:2,S")


def _shown(bounce: Bounce | None) -> dict[str, Any]:
    if bounce is None:
        return {}
    return {"notice_id": str(bounce.notice_id), "status": bounce.status}


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LONGEST)


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
        returned = message_from_string(str(payload))
    found = _OURS.search(str(returned["Message-ID"])) if returned is not None else None
    return UUID(found[1]) if found else None
