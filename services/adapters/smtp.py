"""Mails by SMTP: one connection a mail, and an answer for each."""

from __future__ import annotations

import contextlib
import re
import smtplib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from services.adapters.deadline import Deadline, deadline, watch
from services.domain.errors import ConfigurationError, Refused, Unavailable
from services.handlers.ports import Clock, Mail

TIMEOUT_SECONDS = 10.0
"""For each answer of the server."""

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


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mails are handed in; TLS from the start with `smtps`, else if the server offers it."""

    host: str
    port: int
    user: str | None = None
    password: str | None = None
    is_tls: bool = False

    @classmethod
    def from_url(cls, url: str) -> MailServer:
        """Read `smtp://[user:password@]host[:port]` or `smtps://...`.

        Raises:
            ConfigurationError: it is not such a URL.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigurationError(f"DOORBELL_SMTP_URL: {error}") from error
        if parts.scheme not in ("smtp", "smtps") or not host:
            raise ConfigurationError("DOORBELL_SMTP_URL must be smtp://[user:password@]host:port")
        is_tls = parts.scheme == "smtps"
        user = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else None
        return cls(host, port or (465 if is_tls else 25), user, password, is_tls)


class SmtpMailer:
    """Implements `services.handlers.ports.Mailer`."""

    def __init__(
        self, server: MailServer, sender: str, clock: Clock, local_hostname: str = "localhost"
    ) -> None:
        self._server = server
        self._sender = sender
        self._clock = clock
        self._local_hostname = local_hostname

    def send(self, mail: Mail) -> str:
        message = self._compose(mail)
        with (
            deadline(OVERALL_SECONDS) as limit,
            _translated(limit),
            self._session() as session,
        ):
            receipt = self._hand_in(session, mail, message)
            limit.check()  # a line that was cut short may look like an answer
            return receipt

    def _hand_in(self, session: smtplib.SMTP, mail: Mail, message: EmailMessage) -> str:
        options: list[str] = []
        if not mail.recipient.isascii():
            if not session.has_extn("smtputf8"):
                raise Refused("the mail server takes no address beyond ASCII (SMTPUTF8)")
            options = ["SMTPUTF8"]
        _expect("the sender", *session.mail(self._sender, options))
        _expect("the recipient", *session.rcpt(mail.recipient))
        policy = SMTPUTF8 if options else SMTP
        data = message.as_bytes(policy=policy.clone(cte_type="7bit"))
        return _receipt(*_expect("the message", *_data(session, data)))

    def _compose(self, mail: Mail) -> EmailMessage:
        is_plain = _ADDRESS.fullmatch(mail.recipient) and _ENCODED_WORD not in mail.recipient
        if len(mail.recipient) > 254 or not is_plain:
            raise Refused("the login's email is not an address that a mail can go to")
        message = EmailMessage(policy=SMTP)
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
    def _session(self) -> Iterator[smtplib.SMTP]:
        server = self._server
        kind = _WatchedTls if server.is_tls else _Watched
        session = kind(local_hostname=self._local_hostname, timeout=TIMEOUT_SECONDS)
        try:
            code, _ = session.connect(server.host, server.port)
            if code != 220:
                raise Unavailable(f"the mail server greets with {code}")
            session.ehlo_or_helo_if_needed()
            if not server.is_tls and session.has_extn("starttls"):
                session.starttls(context=ssl.create_default_context())
                session.ehlo_or_helo_if_needed()
            self._log_in(session)
            yield session
        finally:
            # The mail's fate is known by then: how the goodbye goes changes nothing.
            with contextlib.suppress(smtplib.SMTPException, OSError):
                session.quit()
            session.close()

    def _log_in(self, session: smtplib.SMTP) -> None:
        server = self._server
        if server.user is None:
            return
        is_safe = isinstance(session.sock, ssl.SSLSocket) or _is_loopback(session.sock)
        if not is_safe:
            raise Unavailable("the mail server offers no TLS: the password is not sent in the open")
        session.login(server.user, server.password or "")


class _Watched(smtplib.SMTP):
    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection: socket.socket = super()._get_socket(host, port, timeout)  # type: ignore[misc]
        watch(connection)
        return connection


class _WatchedTls(smtplib.SMTP_SSL):
    def __init__(self, **options: Any) -> None:
        super().__init__(context=ssl.create_default_context(), **options)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection = socket.create_connection((host, port), timeout)
        watch(connection)
        return self.context.wrap_socket(connection, server_hostname=host)


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


def _expect(what: str, code: int, answer: bytes) -> tuple[int, bytes]:
    """The answer if it is 2xx. Its text stays out of errors, for it may hold the address."""
    if 200 <= code < 300:
        return code, answer
    if 500 <= code < 600:
        raise Refused(f"the mail server refuses {what}: {code}")
    raise Unavailable(f"the mail server takes {what} later: {code}")


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


def _is_loopback(connection: Any) -> bool:
    peer = str(connection.getpeername()[0])
    return peer == "::1" or peer.startswith("127.")
