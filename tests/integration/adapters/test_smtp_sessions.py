"""Connections to a real SMTP server, kept for the next mails."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from services.adapters import smtp_sessions
from services.adapters.clock import SystemClock
from services.adapters.smtp import SmtpMailer
from services.adapters.smtp_sessions import MailServer as Target
from services.domain.errors import Refused, Unavailable
from services.handlers.records import Mail
from tests.e2e.waiting import wait_until
from tests.integration.adapters.mail_server import MailServer, mail_server
from tests.support.certificates import Authority, Certificate


@pytest.fixture
def receiver() -> Iterator[MailServer]:
    with mail_server() as running:
        yield running


@pytest.fixture
def mailer(receiver: MailServer) -> Iterator[SmtpMailer]:
    mailer = SmtpMailer(Target.from_url(receiver.url), "doorbell@example.org", SystemClock())
    yield mailer
    mailer.close()


def _send(mailer: SmtpMailer, number: int) -> str:
    name = f"user-{number}@example.org"
    return mailer.send(Mail(f"<n-{number}@doorbell>", name, "Hello", "text", "<p>text</p>", "en"))


def test_mails_share_a_connection(receiver: MailServer, mailer: SmtpMailer) -> None:
    """Each has its own recipient and answer."""
    receipts = [_send(mailer, number) for number in range(3)]
    assert len(set(receipts)) == 3
    assert receiver.recipients == [f"user-{number}@example.org" for number in range(3)]
    assert receiver.connections == 1


def test_a_connection_that_the_server_ended_is_replaced(
    receiver: MailServer, mailer: SmtpMailer
) -> None:
    """Nothing of the mail was handed over on it: it goes out once, without another attempt."""
    _send(mailer, 1)
    receiver.hang_up()
    _send(mailer, 2)
    assert (len(receiver.mails), receiver.connections) == (2, 2)


@pytest.mark.parametrize(
    "answer", ["421 4.4.2 idle for too long", "452 4.5.3 too many mails", "550 no"]
)
def test_what_is_said_on_a_kept_connection_is_about_it(
    receiver: MailServer, mailer: SmtpMailer, answer: str
) -> None:
    """The mail goes over a new one, whose answer counts."""
    _send(mailer, 1)
    receiver.first_answers.append(answer)
    _send(mailer, 2)
    assert (len(receiver.mails), receiver.connections) == (2, 2)


def test_a_server_that_is_silent_leaves_time_for_a_new_connection(
    receiver: MailServer, mailer: SmtpMailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kept connection whose other end has gone without a word costs a moment, not the mail."""
    monkeypatch.setattr(smtp_sessions, "_RESUMED_SECONDS", 0.2)
    _send(mailer, 1)
    receiver.fall_silent()
    _send(mailer, 2)
    assert (len(receiver.mails), receiver.connections) == (2, 2)


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
def test_what_was_refused_is_not_in_the_next_mail(
    receiver: MailServer, mailer: SmtpMailer, command: str
) -> None:
    """Its connection is ended."""
    _send(mailer, 1)
    receiver.answers[command] = "550 no"
    with pytest.raises(Refused, match="550"):
        _send(mailer, 2)
    receiver.answers.pop(command, None)
    _send(mailer, 3)
    assert receiver.recipients == ["user-1@example.org", "user-3@example.org"]
    # What is said to the sender on a kept connection is asked again on a new one.
    assert receiver.connections == (3 if command == "MAIL" else 2)


def test_an_old_connection_is_not_used_again(
    receiver: MailServer, mailer: SmtpMailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one that was idle, nor one that has taken its share."""
    monkeypatch.setattr(smtp_sessions, "IDLE_SECONDS", 0.0)
    for number in range(2):
        _send(mailer, number)
    assert receiver.connections == 2
    monkeypatch.undo()
    monkeypatch.setattr(smtp_sessions, "MOST_MAILS", 2)
    mailer.close()
    for number in range(4):
        _send(mailer, number)
    assert receiver.connections == 4


def test_many_at_once_each_go_out_once(
    receiver: MailServer, mailer: SmtpMailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over as many connections as there are calls, of which few are kept."""
    monkeypatch.setattr(smtp_sessions, "MOST_KEPT", 2)
    with ThreadPoolExecutor(10) as threads:
        list(threads.map(lambda number: _send(mailer, number), range(100)))
    assert Counter(receiver.recipients) == Counter(f"user-{n}@example.org" for n in range(100))
    wait_until(
        lambda: sum(not it.is_closing() for it in receiver.transports) <= 2, 10, "the others' end"
    )
    assert receiver.connections < 100


@pytest.fixture
def certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Of an authority that this machine trusts for the moment."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    return authority


def _tls(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.file, certificate.key)
    return context


@pytest.mark.parametrize("is_tls", [False, True], ids=["starttls", "tls"])
def test_mails_go_over_tls(certificates: Authority, is_tls: bool) -> None:
    """To a server with a certificate of its name; where it asks for one after STARTTLS, with the password."""
    tls = _tls(certificates.issue("127.0.0.1"))
    with mail_server(tls, is_tls=is_tls) as receiver:
        url = receiver.url if is_tls else receiver.url.replace("://", "://doorbell:secret@")
        mailer = SmtpMailer(Target.from_url(url), "doorbell@example.org", SystemClock())
        with closing(mailer):
            _send(mailer, 1)
            _send(mailer, 2)
        assert receiver.recipients == ["user-1@example.org", "user-2@example.org"]
        assert len({id(it) for it in receiver.transports}) == 1 + (
            not is_tls
        )  # anew after STARTTLS


@pytest.mark.parametrize("is_tls", [False, True], ids=["starttls", "tls"])
def test_a_server_of_another_name_gets_neither_password_nor_mail(
    certificates: Authority, is_tls: bool
) -> None:
    """Tried again later: the certificate may be mended."""
    tls = _tls(certificates.issue("mail.example.org"))
    with mail_server(tls, is_tls=is_tls) as receiver:
        url = receiver.url.replace("://", "://doorbell:secret@")
        mailer = SmtpMailer(Target.from_url(url), "doorbell@example.org", SystemClock())
        with closing(mailer), pytest.raises(Unavailable, match="SSLCertVerificationError"):
            _send(mailer, 1)
        assert receiver.mails == []


def test_a_wrong_password_is_for_later(certificates: Authority) -> None:
    """An operator can mend it, and the mail is not lost."""
    with mail_server(_tls(certificates.issue("127.0.0.1"))) as receiver:
        url = receiver.url.replace("://", "://doorbell:wrong@")
        mailer = SmtpMailer(Target.from_url(url), "doorbell@example.org", SystemClock())
        with closing(mailer), pytest.raises(Unavailable, match="535") as caught:
            _send(mailer, 1)
        assert "wrong" not in str(caught.value)
