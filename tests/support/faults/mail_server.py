"""An SMTP server that keeps mails in a Maildir, notes each try, and misbehaves while it runs if asked to."""

from __future__ import annotations

import asyncio
import email
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploy.local.mail_sink import keep
from tests.support.faults.server import Server, reset

Manner = Literal["well", "hang", "reset", "error", "refuse", "rubbish", "lost answer"]
"""How the end of a mail is answered: 250; not at all; by a reset; 451; 550; byte by byte and senseless.

"lost answer" keeps the mail and then resets: the client cannot know. With all the others but "well",
nothing is kept.
"""

_DRIP_SECONDS = 0.3
_STATUS = {"well": 250, "error": 451, "refuse": 550}


@dataclass(frozen=True, slots=True)
class Try:
    """One mail that was handed in as far as its last line. `answer` None: the client got none."""

    at: float
    message_id: str
    answer: int | None
    is_kept: bool


class MailServer(Server):
    """`manner` may be changed at any time; a client that hangs does so until the manner changes.

    While the manner is "hang", a new connection is not even greeted; with "reset" it is reset at once.
    """

    def __init__(self, maildir: Path, listener: socket.socket | None = None) -> None:
        """Make the Maildir if it is missing."""
        super().__init__(listener)
        self._manner: Manner = "well"
        self._answering = asyncio.Event()
        self._answering.set()
        self.tries: list[Try] = []
        self._maildir = maildir
        for folder in ("tmp", "new", "cur"):
            (maildir / folder).mkdir(parents=True, exist_ok=True)

    @property
    def manner(self) -> Manner:
        return self._manner

    @manner.setter
    def manner(self, manner: Manner) -> None:
        self._manner = manner
        change = self._answering.clear if manner == "hang" else self._answering.set
        self._loop.call_soon_threadsafe(change)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._answering.wait()
        if self.manner == "reset":
            reset(writer)
            return
        await _say(writer, "220 chaos ESMTP")
        while line := await reader.readline():
            word = line.strip().upper()
            if word == b"DATA":
                await _say(writer, "354 go on")
                mail = await reader.readuntil(b"\r\n.\r\n")
                await self._take(mail.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n."), writer)
            elif word == b"QUIT":
                await _say(writer, "221 bye")
                return
            else:
                await _say(writer, "250 SMTPUTF8" if word.startswith(b"EHLO") else "250 fine")

    async def _take(self, mail: bytes, writer: asyncio.StreamWriter) -> None:
        manner = self.manner
        is_kept = manner in ("well", "lost answer")
        if is_kept:
            await asyncio.to_thread(keep, self._maildir, mail)
        message_id = str(email.message_from_bytes(mail)["Message-ID"])
        status = _STATUS.get(manner)
        self.tries.append(Try(time.time(), message_id, status, is_kept))
        if manner == "hang":
            await self._answering.wait()
        if manner == "rubbish":
            await self._drip(writer)
        if status is None:
            reset(writer)
            raise ConnectionResetError
        await _say(writer, f"{status} as asked")

    async def _drip(self, writer: asyncio.StreamWriter) -> None:
        while self.manner == "rubbish":
            writer.write(b"\xff")
            await writer.drain()
            await asyncio.sleep(_DRIP_SECONDS)


async def _say(writer: asyncio.StreamWriter, line: str) -> None:
    writer.write(f"{line}\r\n".encode())
    await writer.drain()
