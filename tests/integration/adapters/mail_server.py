"""A real SMTP server in a thread that keeps its mails and answers as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult


@dataclass
class MailServer:
    """`answers` maps MAIL, RCPT or DATA to what is said instead of 250; `first_answers` to MAIL, once."""

    answers: dict[str, str] = field(default_factory=dict)
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    url: str = ""
    connections: int = 0
    first_answers: list[str] = field(default_factory=list)
    transports: list[Any] = field(default_factory=list)
    loop: asyncio.AbstractEventLoop | None = None

    def hang_up(self) -> None:
        """End all connections, without a word."""

        async def end() -> None:
            for transport in self.transports:
                transport.close()

        assert self.loop is not None
        asyncio.run_coroutine_threadsafe(end(), self.loop).result(10)

    def fall_silent(self) -> None:
        """Read no more from the connections that there are, and leave them open."""

        async def pause() -> None:
            for transport in self.transports:
                transport.pause_reading()

        assert self.loop is not None
        asyncio.run_coroutine_threadsafe(pause(), self.loop).result(10)

    async def handle_EHLO(  # noqa: N802 - aiosmtpd finds it by this name
        self, server: Any, session: Any, _e: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.transports.append(server.transport)
        self.connections += 1
        return responses

    async def handle_MAIL(  # noqa: N802 - aiosmtpd finds it by this name
        self, _s: Any, _ss: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if self.first_answers:
            return self.first_answers.pop()
        if "MAIL" in self.answers:
            return self.answers["MAIL"]
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd finds it by this name
        self, _s: Any, _ss: Any, envelope: Any, address: str, _o: Any
    ) -> str:
        if "RCPT" in self.answers:
            return self.answers["RCPT"]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd finds it by this name
        self, _s: Any, _ss: Any, envelope: Any
    ) -> str:
        if "DATA" in self.answers:
            return self.answers["DATA"]
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.recipients += envelope.rcpt_tos
        return f"250 2.0.0 queued as {len(self.mails)} for {envelope.rcpt_tos[0]}"


@contextlib.contextmanager
def mail_server(tls: ssl.SSLContext | None = None, *, is_tls: bool = False) -> Iterator[MailServer]:
    """tls: what it begins with, or offers (STARTTLS) and wants, with the password `secret` of the user `doorbell`."""
    kept = MailServer()
    wanted: dict[str, Any] = {
        "require_starttls": True,
        "tls_context": tls,
        "authenticator": _authenticate,
        "auth_required": True,
    }
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(
        loop.create_server(
            lambda: SMTP(
                kept, enable_SMTPUTF8=True, loop=loop, **(wanted if tls and not is_tls else {})
            ),
            host="127.0.0.1",
            port=0,
            ssl=tls if is_tls else None,
        )
    )
    kept.loop = loop
    kept.url = f"{'smtps' if is_tls else 'smtp'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield kept
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def _authenticate(_s: Any, _ss: Any, _e: Any, _mechanism: str, data: Any) -> AuthResult:
    is_right = (data.login, data.password) == (b"doorbell", b"secret")
    return AuthResult(success=is_right, handled=False)


async def _end(server: asyncio.Server) -> None:
    server.close()
    rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
