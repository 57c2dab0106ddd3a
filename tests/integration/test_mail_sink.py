"""The mail sink as its own process, over real SMTP."""

from __future__ import annotations

import mailbox
import selectors
import signal
import smtplib
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import pytest

_DEADLINE_SECONDS = 20.0


@dataclass(frozen=True)
class Sink:
    port: int
    maildir: Path
    process: subprocess.Popen[str]

    def connect(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.port, timeout=10)

    def mails(self) -> list[mailbox.MaildirMessage]:
        return list(mailbox.Maildir(self.maildir, create=False))


@contextmanager
def serving(maildir: Path) -> Iterator[Sink]:
    """The sink in a process of its own, ended at the end."""
    command = [sys.executable, "-W", "error", "-m", "deploy.local.mail_sink", "--port", "0"]
    with subprocess.Popen(
        [*command, "--maildir", str(maildir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield Sink(_port(process), maildir, process)
        finally:
            process.kill()


def _port(process: subprocess.Popen[str]) -> int:
    """The port in the line that the sink prints when it listens."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as ready:
        ready.register(process.stdout, selectors.EVENT_READ)
        assert ready.select(_DEADLINE_SECONDS), "the mail sink did not start"
    line = process.stdout.readline()
    assert line.startswith("mail sink on "), line + process.stdout.read()
    return int(line.partition(",")[0].rpartition(":")[2])


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    with serving(tmp_path / "mails") as started:
        yield started


def mail(message_id: str, text: str = "A new device signed in.") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "doorbell@example.com"
    message["To"] = "ada@example.com"
    message["Subject"] = "Neues Gerät 🔔"
    message["Message-ID"] = message_id
    message.set_content(text)
    return message


def test_a_mail_is_kept_whole_with_its_envelope(sink: Sink) -> None:
    """What was accepted is in the Maildir when 250 arrives, complete and with its recipients."""
    with sink.connect() as client:
        assert not client.send_message(
            mail("<1@example.com>"), "bounces@example.com", ["ada@example.com", "bob@example.com"]
        )
        (kept,) = sink.mails()
    assert kept["Message-ID"] == "<1@example.com>"
    assert kept["Return-Path"] == "<bounces@example.com>"
    assert kept.get_all("Delivered-To") == ["ada@example.com", "bob@example.com"]
    assert kept.get_payload() == "A new device signed in.\n"
    assert not list((sink.maildir / "tmp").iterdir())


def test_lines_that_begin_with_a_dot_survive(sink: Sink) -> None:
    """SMTP's dot stuffing is undone."""
    with sink.connect() as client:
        client.send_message(mail("<dot@example.com>", ".\n..two\n"))
    assert sink.mails()[0].get_payload() == ".\n..two\n"


def test_many_clients_at_once_lose_nothing(sink: Sink) -> None:
    """Every mail of eight clients is there once."""

    def send(client_number: int) -> None:
        with sink.connect() as client:
            for number in range(10):
                client.send_message(mail(f"<{client_number}-{number}@example.com>"))

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(send, range(8)))
    ids = [kept["Message-ID"] for kept in sink.mails()]
    assert len(ids) == len(set(ids)) == 80


def test_a_mail_above_the_limit_is_refused(sink: Sink) -> None:
    """A mail over 1 MB gets 552, whether its size is announced or not, and the sink goes on."""
    content = b"Subject: large\r\n\r\n" + (b"x" * 998 + b"\r\n") * 1100
    with sink.connect() as client:
        client.ehlo()
        code, _ = client.mail("a@example.com", [f"size={len(content)}"])
        assert code == 552
        client.rset()
        client.mail("a@example.com")
        client.rcpt("b@example.com")
        code, _ = client.data(content)
        assert code == 552
    with sink.connect() as client:
        client.send_message(mail("<after@example.com>"))
    assert [kept["Message-ID"] for kept in sink.mails()] == ["<after@example.com>"]


def test_a_maildir_that_cannot_be_written_is_a_temporary_error(sink: Sink) -> None:
    """The client is told to try again, and when it does, the mail is kept."""
    (sink.maildir / "tmp").rmdir()
    with sink.connect() as client:
        with pytest.raises(smtplib.SMTPDataError) as caught:
            client.send_message(mail("<1@example.com>"))
        assert caught.value.smtp_code == 451
        (sink.maildir / "tmp").mkdir()
        client.send_message(mail("<1@example.com>"))
    assert len(sink.mails()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_ends_it_with_an_open_connection(sink: Sink, number: signal.Signals) -> None:
    """An idle client does not hold the sink up, and the exit is clean."""
    client = sink.connect()
    client.ehlo()
    sink.process.send_signal(number)
    assert sink.process.wait(timeout=_DEADLINE_SECONDS) == 0
    assert sink.process.stdout is not None
    assert "Traceback" not in sink.process.stdout.read()
    client.close()


def test_every_mail_that_got_its_250_survives_a_kill(tmp_path: Path) -> None:
    """Mails acknowledged before a kill are there afterwards, whole; the next sink goes on."""
    acknowledged = []
    with serving(tmp_path / "mails") as sink, sink.connect() as client:
        for number in range(200):
            if number == 50:
                sink.process.kill()
            try:
                client.send_message(mail(f"<{number}@example.com>"))
            except (smtplib.SMTPException, OSError):
                break
            acknowledged.append(f"<{number}@example.com>")
        client.close()
        kept = {each["Message-ID"] for each in sink.mails()}
    assert len(acknowledged) >= 50
    assert set(acknowledged) <= kept
    with serving(tmp_path / "mails") as sink, sink.connect() as client:
        client.send_message(mail("<again@example.com>"))
        assert len(sink.mails()) == len(kept) + 1


def test_it_says_why_it_cannot_start(tmp_path: Path) -> None:
    """A mistake of the operator gets a sentence, not a stack trace."""
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "deploy.local.mail_sink", "--port", "0"]
    ended = subprocess.run(
        [*command, "--maildir", str(tmp_path / "file")],
        capture_output=True,
        check=False,
        text=True,
    )
    assert ended.returncode == 1
    assert "cannot start" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_mails_are_in_the_folder_for_new_ones(sink: Sink) -> None:
    """Any Maildir reader finds them, unread."""
    with sink.connect() as client:
        client.send_message(mail("<1@example.com>"))
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not list((sink.maildir / "new").iterdir()):
        assert time.monotonic() < deadline
    assert sink.mails()[0].get_subdir() == "new"
