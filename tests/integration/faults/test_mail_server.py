"""The misbehaving mail server as the product's own mailer meets it."""

from __future__ import annotations

import mailbox
import smtplib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.support.faults.mail_server import MailServer, Manner


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MailServer]:
    with MailServer(tmp_path / "mail") as running:
        yield running


def _mail(message_id: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"] = "doorbell@example.org", "ada@example.org"
    mail["Message-ID"] = message_id
    mail.set_content("Hello\n.\n..\nbye\n")
    return mail


def _send(server: MailServer, message_id: str) -> None:
    with smtplib.SMTP("127.0.0.1", server.port, timeout=1) as client:
        client.send_message(_mail(message_id))


def _kept(maildir: Path) -> list[str]:
    return sorted(str(mail["Message-ID"]) for mail in mailbox.Maildir(maildir, create=False))


def test_a_mail_arrives_as_it_was_sent(server: MailServer, tmp_path: Path) -> None:
    """Lines that begin with a dot too."""
    _send(server, "<one@doorbell>")

    (mail,) = mailbox.Maildir(tmp_path / "mail", create=False)
    assert mail.get_payload() == "Hello\n.\n..\nbye\n"
    assert [(t.message_id, t.answer, t.is_kept) for t in server.tries] == [
        ("<one@doorbell>", 250, True)
    ]


@pytest.mark.parametrize(
    ("manner", "kept"),
    [
        ("hang", []),
        ("reset", []),
        ("error", []),
        ("refuse", []),
        ("lost answer", ["<two@doorbell>"]),
    ],
)
def test_a_mail_fails_in_each_manner_and_the_next_one_arrives(
    server: MailServer, tmp_path: Path, manner: Manner, kept: list[str]
) -> None:
    """The client sees a failure; what is kept, and what the log says, is as the manner promises."""
    client = smtplib.SMTP("127.0.0.1", server.port, timeout=1)
    server.manner = manner
    with pytest.raises((smtplib.SMTPException, OSError)):
        client.send_message(_mail("<two@doorbell>"))
    client.close()
    assert _kept(tmp_path / "mail") == kept
    assert [(t.message_id, t.is_kept) for t in server.tries] == [("<two@doorbell>", bool(kept))]

    server.manner = "well"
    _send(server, "<three@doorbell>")
    assert _kept(tmp_path / "mail") == sorted([*kept, "<three@doorbell>"])


def test_rubbish_keeps_a_client_waiting_until_the_manner_changes(
    server: MailServer, tmp_path: Path
) -> None:
    """A byte now and then is no silence: the client's own time-out for an answer does not help it."""
    client = smtplib.SMTP("127.0.0.1", server.port, timeout=1)
    server.manner = "rubbish"
    with ThreadPoolExecutor(1) as thread:
        sending = thread.submit(client.send_message, _mail("<two@doorbell>"))
        with pytest.raises(TimeoutError):
            sending.result(timeout=2)
        server.manner = "well"
        with pytest.raises((smtplib.SMTPException, OSError)):
            sending.result(timeout=5)
    client.close()
    assert _kept(tmp_path / "mail") == []


@pytest.mark.parametrize("manner", ["hang", "reset"])
def test_a_new_connection_is_not_greeted(server: MailServer, manner: Manner) -> None:
    """A server that hangs or resets does so from the first byte."""
    server.manner = manner
    with pytest.raises((smtplib.SMTPException, OSError)):
        _send(server, "<one@doorbell>")
    assert server.tries == []
