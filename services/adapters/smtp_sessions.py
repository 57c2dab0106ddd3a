"""Connections to the mail server, kept for the mails to come."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any
from urllib.parse import unquote, urlsplit

from services.adapters.deadline import watch
from services.domain.errors import ConfigurationError, Refused, Unavailable

TIMEOUT_SECONDS = 10.0
"""For each answer of the server."""

MOST_KEPT = 8
"""Connections that a process keeps."""

MOST_MAILS = 100
"""Over one connection; servers have limits of their own."""

IDLE_SECONDS = 10.0
"""One that was idle for longer is not used again. Servers end them after five minutes (RFC 5321, 4.5.3.2.7)."""

_RESUMED_SECONDS = 2.0
"""For the first answer on a kept connection: there must be time for a new one behind it."""


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


@dataclass(slots=True)
class _Kept:
    session: smtplib.SMTP
    mails: int
    since: float


class Sessions:
    """Takes one mail at a time over each connection; safe for many threads."""

    def __init__(self, server: MailServer, local_hostname: str) -> None:
        self._server = server
        self._local_hostname = local_hostname
        self._lock = threading.Lock()
        self._idle: list[_Kept] = []

    @contextlib.contextmanager
    def mail(self, sender: str, *, is_utf8: bool) -> Iterator[smtplib.SMTP]:
        """A connection on which the server has taken the mail's sender; kept if the block ends well.

        A kept connection that the server has ended meanwhile is noticed by then, and a new one takes its place: nothing
        of the mail was handed over.

        is_utf8: the recipient's address is not ASCII (SMTPUTF8, RFC 6531).

        Raises:
            Refused: the server takes no such mail.
            Unavailable, smtplib.SMTPException, OSError: not now.
        """
        kept, answer = self._begin(sender, is_utf8)
        is_well = False
        try:
            expect("the sender", *answer)
            yield kept.session
            is_well = True
        finally:
            if is_well:
                self._keep(kept)
            else:
                _end(kept.session)

    def close(self) -> None:
        """End the kept connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for kept in idle:
            _end(kept.session)

    def _begin(self, sender: str, is_utf8: bool) -> tuple[_Kept, tuple[int, bytes]]:
        while (kept := self._take()) is not None:
            answer = self._resume(kept.session, sender, is_utf8)
            if answer is not None:
                return kept, answer
            kept.session.close()
        kept = _Kept(self._open(), 0, 0.0)
        try:
            return kept, _mail(kept.session, sender, is_utf8)
        except BaseException:
            _end(kept.session)
            raise

    def _resume(
        self, session: smtplib.SMTP, sender: str, is_utf8: bool
    ) -> tuple[int, bytes] | None:
        """The answer to the sender; None: this connection is of no use any more, which says nothing of the mail."""
        if session.sock is None or (is_utf8 and not session.has_extn("smtputf8")):
            return None
        watch(session.sock)
        try:
            session.sock.settimeout(_RESUMED_SECONDS)
            answer = _mail(session, sender, is_utf8)
            session.sock.settimeout(TIMEOUT_SECONDS)
        except (smtplib.SMTPException, OSError, AttributeError):
            return None  # smtplib drops the socket of one that was ended
        return answer if 200 <= answer[0] < 300 else None

    def _take(self) -> _Kept | None:
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        if kept is None or monotonic() - kept.since < IDLE_SECONDS:
            return kept
        # The others have waited for longer. Without a goodbye, whose answer might not come.
        kept.session.close()
        with self._lock:
            idle, self._idle = self._idle, []
        for other in idle:
            other.session.close()
        return None

    def _keep(self, kept: _Kept) -> None:
        kept.mails += 1
        kept.since = monotonic()
        with self._lock:
            is_kept = kept.mails < MOST_MAILS and len(self._idle) < MOST_KEPT
            if is_kept:
                self._idle.append(kept)
        if not is_kept:
            _end(kept.session)

    def _open(self) -> smtplib.SMTP:
        server = self._server
        kind = _WatchedTls if server.is_tls else _Watched
        session = kind(server.host, server.port, self._local_hostname, timeout=TIMEOUT_SECONDS)
        try:
            session.ehlo_or_helo_if_needed()
            if not server.is_tls and session.has_extn("starttls"):
                session.starttls(context=ssl.create_default_context())
                session.ehlo_or_helo_if_needed()
            self._log_in(session)
        except BaseException:
            _end(session)
            raise
        return session

    def _log_in(self, session: smtplib.SMTP) -> None:
        server = self._server
        if server.user is None:
            return
        is_safe = isinstance(session.sock, ssl.SSLSocket) or _is_loopback(session.sock)
        if not is_safe:
            raise Unavailable("the mail server offers no TLS: the password is not sent in the open")
        session.login(server.user, server.password or "")


def expect(what: str, code: int, answer: bytes) -> tuple[int, bytes]:
    """The answer if it is 2xx. Its text stays out of errors, for it may hold the address.

    Raises:
        Refused: it is 5xx, which will not get better.
        Unavailable: it is another.
    """
    if 200 <= code < 300:
        return code, answer
    if 500 <= code < 600:
        raise Refused(f"the mail server refuses {what}: {code}")
    raise Unavailable(f"the mail server takes {what} later: {code}")


def _mail(session: smtplib.SMTP, sender: str, is_utf8: bool) -> tuple[int, bytes]:
    if is_utf8 and not session.has_extn("smtputf8"):
        raise Refused("the mail server takes no address beyond ASCII (SMTPUTF8)")
    return session.mail(sender, ["SMTPUTF8"] if is_utf8 else [])


def _end(session: smtplib.SMTP) -> None:
    # The mail's fate is known by then: how the goodbye goes changes nothing.
    with contextlib.suppress(smtplib.SMTPException, OSError):
        session.quit()
    session.close()


class _Watched(smtplib.SMTP):
    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection: socket.socket = super()._get_socket(host, port, timeout)  # type: ignore[misc]
        watch(connection)
        return connection


class _WatchedTls(smtplib.SMTP_SSL):
    def __init__(self, host: str, port: int, local_hostname: str, timeout: float) -> None:
        context = ssl.create_default_context()
        super().__init__(host, port, local_hostname, timeout=timeout, context=context)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection = socket.create_connection((host, port), timeout)
        watch(connection)
        return self.context.wrap_socket(connection, server_hostname=host)


def _is_loopback(connection: Any) -> bool:
    peer = str(connection.getpeername()[0])
    return peer == "::1" or peer.startswith("127.")
