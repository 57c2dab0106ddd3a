"""An SMTP server that keeps every mail in a Maildir and sends none on: for trying and for tests."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import time
from pathlib import Path
from uuid import uuid4

from aiosmtpd.smtp import SMTP, Envelope, Session

LIMIT_BYTES = 1_048_576
_STOP_SECONDS = 5.0


class Keeper:
    """Answers 250 only when the mail is on the disk; a client that saw no 250 may send it again."""

    def __init__(self, maildir: Path) -> None:
        """Make the Maildir if it is missing. Raises OSError when that is not possible."""
        self._maildir = maildir
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()
        for folder in ("tmp", "new", "cur"):
            (maildir / folder).mkdir(parents=True, exist_ok=True)

    async def handle_DATA(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        self._busy += 1
        self._idle.clear()
        try:
            name = await asyncio.to_thread(keep, self._maildir, _with_envelope(envelope))
        except OSError as error:
            return f"451 4.3.0 the mail could not be kept: {error.strerror}"
        finally:
            self._busy -= 1
            if not self._busy:
                self._idle.set()
        return f"250 2.0.0 kept as {name}"

    async def wait_idle(self) -> None:
        """Wait until no mail is being written."""
        await self._idle.wait()


def keep(maildir: Path, content: bytes) -> str:
    """Write a mail to `tmp`, sync it, move it to `new`, sync that: nobody ever sees half a mail."""
    name = f"{int(time.time())}.{uuid4().hex}.{socket.gethostname()}"
    written = maildir / "tmp" / name
    try:
        with written.open("xb") as mail:
            mail.write(content)
            mail.flush()
            os.fsync(mail.fileno())
        written.rename(maildir / "new" / name)
    except OSError:
        written.unlink(missing_ok=True)
        raise
    folder = os.open(maildir / "new", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return name


def _with_envelope(envelope: Envelope) -> bytes:
    """The mail with its envelope on top, as a delivery agent writes it."""
    lines = [f"Return-Path: <{envelope.mail_from or ''}>"]
    lines += [f"Delivered-To: {recipient}" for recipient in envelope.rcpt_tos]
    head = "".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape")
    return head + (envelope.original_content or b"")


async def serve(host: str, port: int, maildir: Path) -> None:
    """Serve until SIGTERM or SIGINT, then finish the mails that are being written."""
    loop = asyncio.get_running_loop()
    keeper = Keeper(maildir)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def protocol() -> SMTP:
        return SMTP(
            keeper,
            data_size_limit=LIMIT_BYTES,
            enable_SMTPUTF8=True,
            hostname="mail-sink",
            ident="Doorbell mail sink",
            loop=loop,
        )

    server = await loop.create_server(protocol, host, port)
    bound = server.sockets[0].getsockname()
    print(f"mail sink on {bound[0]}:{bound[1]}, mails in {maildir}", flush=True)
    await stop.wait()
    server.close()
    async with asyncio.timeout(_STOP_SECONDS):
        await keeper.wait_idle()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.mail_sink", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8025, help="0 takes a free one")
    parser.add_argument("--maildir", type=Path, required=True)
    options = parser.parse_args()
    try:
        asyncio.run(serve(options.host, options.port, options.maildir))
    except OSError as error:
        parser.exit(1, f"the mail sink cannot start: {error}\n")


if __name__ == "__main__":
    main()
