"""Mails by SMTP, and an answer for each."""

from __future__ import annotations

import contextlib
import re
import smtplib
from collections.abc import Iterator
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8, EmailPolicy
from email.utils import format_datetime
from typing import Any

from services.adapters.deadline import Deadline, deadline
from services.adapters.smtp_sessions import MailServer, Sessions, expect
from services.domain.errors import Refused, Unavailable
from services.handlers.ports import Clock
from services.handlers.records import Mail

OVERALL_SECONDS = 15.0
"""Below the lease of a notice, so that nobody else takes it up during the call."""

# Stricter than the standard on purpose: quoted names and comments are how headers get injected.
_ADDRESS = re.compile(
    r"[^\s\x00-\x1f\x7f<>()\[\]\\,;:\"@]{1,64}@[^\s\x00-\x1f\x7f<>()\[\]\\,;:\"@]{1,253}"
)
# Python's email package decodes an encoded word in what a header is given, and writes out the line
# breaks it finds inside: `=?utf-8?q?=0d=0aBcc=3a...?=` would become a header of its own.
_ENCODED_WORD = "=?"
_LONGEST_RECEIPT = 120

# Bodies are encoded for any server when they are set: doing it when the mail is written copies all its headers.
_POLICY, _UTF8_POLICY = (policy.clone(cte_type="7bit") for policy in (SMTP, SMTPUTF8))


class SmtpMailer:
    """Implements `services.handlers.ports.Mailer`."""

    def __init__(
        self, server: MailServer, sender: str, clock: Clock, local_hostname: str = "localhost"
    ) -> None:
        self._sessions = Sessions(server, local_hostname)
        self._sender = sender
        self._clock = clock

    def send(self, mail: Mail) -> str:
        is_utf8 = not mail.recipient.isascii()
        message = self._compose(mail, _UTF8_POLICY if is_utf8 else _POLICY)
        with (
            deadline(OVERALL_SECONDS) as limit,
            _translated(limit),
            self._sessions.mail(self._sender, is_utf8=is_utf8) as session,
        ):
            expect("the recipient", *session.rcpt(mail.recipient))
            data = message.as_bytes()
            receipt = _receipt(*expect("the message", *_data(session, data)))
            limit.check()  # a line that was cut short may look like an answer
            return receipt

    def close(self) -> None:
        """End the kept connections."""
        self._sessions.close()

    def _compose(self, mail: Mail, policy: EmailPolicy[Any]) -> EmailMessage:
        is_plain = _ADDRESS.fullmatch(mail.recipient) and _ENCODED_WORD not in mail.recipient
        if len(mail.recipient) > 254 or not is_plain:
            raise Refused("the login's email is not an address that a mail can go to")
        message = EmailMessage(policy=policy)
        message["From"] = Address("Doorbell", addr_spec=self._sender)
        name, _, domain = mail.recipient.partition("@")
        message["To"] = Address(username=name, domain=domain)
        message["Subject"] = mail.subject.replace(_ENCODED_WORD, "= ?")
        message["Date"] = format_datetime(self._clock.now())
        message["Message-ID"] = mail.message_id
        message["Auto-Submitted"] = "auto-generated"
        if mail.unsubscribe_url:
            message["List-Unsubscribe"] = f"<{mail.unsubscribe_url}>"
            if mail.unsubscribe_url.startswith("https://"):  # RFC 8058 wants it
                message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        message.set_content(mail.text)
        message.add_alternative(mail.html, subtype="html")
        message["Content-Language"] = (
            mail.language
        )  # last: adding a body moves such headers into one
        return message


@contextlib.contextmanager
def _translated(limit: Deadline) -> Iterator[None]:
    """What is not an answer about this mail means: later."""
    try:
        yield
    except (smtplib.SMTPException, OSError, Refused, Unavailable) as error:
        limit.check()
        if isinstance(error, Refused | Unavailable):
            raise
        code = getattr(error, "smtp_code", None)
        detail = f"{type(error).__name__} {code}" if code else type(error).__name__
        raise Unavailable(f"the mail server is away: {detail}") from error


def _data(session: smtplib.SMTP, data: bytes) -> tuple[int, bytes]:
    try:
        return session.data(data)
    except smtplib.SMTPDataError as error:
        answer = error.smtp_error
        return error.smtp_code, answer.encode() if isinstance(answer, str) else answer


def _receipt(code: int, answer: bytes) -> str:
    words = answer.decode("ascii", "replace").split()
    text = " ".join("..." if "@" in word else word for word in words if word.isprintable())
    return f"{code} {text}".strip()[:_LONGEST_RECEIPT]
