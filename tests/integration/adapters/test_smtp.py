"""Handing mails to a real SMTP server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from services.adapters import smtp
from services.adapters.clock import SystemClock
from services.adapters.smtp import SmtpMailer
from services.adapters.smtp_sessions import MailServer as Target
from services.domain.errors import ConfigurationError, Refused, Unavailable
from services.handlers.records import Mail
from tests.integration.adapters.mail_server import MailServer, mail_server
from tests.integration.adapters.servers import raw_server


@pytest.fixture
def receiver() -> Iterator[MailServer]:
    with mail_server() as running:
        yield running


def _mail(recipient: str = "ada@example.org", subject: str = "New sign-in to Café") -> Mail:
    return Mail(
        "<n-1@doorbell>", recipient, subject, "Grüße\n" + "x" * 2000, "<p>Grüße</p>", "de-DE"
    )


def _send(url: str, mail: Mail) -> str:
    mailer = SmtpMailer(Target.from_url(url), "doorbell@example.org", SystemClock())
    with closing(mailer):
        return mailer.send(mail)


def test_a_mail_arrives_as_written(receiver: MailServer) -> None:
    """Text and HTML, names beyond ASCII and the Message-ID arrive; the receipt holds no address."""
    receipt = _send(receiver.url, _mail())
    (mail,) = receiver.mails
    assert receiver.recipients == ["ada@example.org"]
    assert mail["Message-ID"] == "<n-1@doorbell>"
    assert mail["Subject"] == "New sign-in to Café"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Content-Language"] == "de-DE"
    assert mail["Date"] is not None
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert text.get_content().startswith("Grüße")
    assert html is not None
    assert "Grüße" in html.get_content()
    assert receipt == "250 2.0.0 queued as 1 for ..."


def test_a_mail_program_is_told_how_to_unsubscribe(receiver: MailServer) -> None:
    """With one click (RFC 8058), where there is a way; no line of it is folded apart."""
    url = "https://doorbell.example.org/notice?t=" + "n1." + "x" * 28 + "." + "y" * 22
    _send(receiver.url, replace(_mail(), unsubscribe_url=url))
    _send(receiver.url, _mail())
    with_way, without = receiver.mails
    assert str(with_way["List-Unsubscribe"]).replace(" ", "") == f"<{url}>"
    assert with_way["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert without["List-Unsubscribe"] is None


@pytest.mark.parametrize("recipient", ["ada@exämple.org", "ädä@example.org"])
def test_an_address_beyond_ascii_is_reached(receiver: MailServer, recipient: str) -> None:
    """Internationalised addresses work where the server takes them."""
    _send(receiver.url, _mail(recipient))
    assert receiver.recipients == [recipient]


@pytest.mark.parametrize(
    "recipient",
    [
        "",
        "ada",
        "ada@example.org\r\nBcc: eve@example.org",
        "ada@example.org, eve@example.org",
        "Ada <ada@example.org>",
        '"ada\r\n"@example.org',
        "ada@example.org\x00",
        "a" * 300 + "@example.org",
        "@example.org",
    ],
)
def test_what_is_no_address_is_refused(receiver: MailServer, recipient: str) -> None:
    """Nothing but one plain address becomes a recipient: no header and no second mail slips in."""
    with pytest.raises(Refused, match="not an address"):
        _send(receiver.url, _mail(recipient))
    assert receiver.mails == []


@pytest.mark.parametrize("command", ["RCPT", "DATA"])
@pytest.mark.parametrize(("code", "error"), [("550", Refused), ("451", Unavailable)])
def test_the_answer_decides_about_trying_again(
    receiver: MailServer, command: str, code: str, error: type[Exception]
) -> None:
    """5xx is for good, 4xx is for now, and neither error names the address."""
    receiver.answers[command] = f"{code} no <ada@example.org>"
    with pytest.raises(error, match=code) as caught:
        _send(receiver.url, _mail())
    assert "ada" not in str(caught.value)


def test_nobody_there_is_unavailable() -> None:
    """A mail server that is down is tried again."""
    with pytest.raises(Unavailable, match="away"):
        _send("smtp://127.0.0.1:9", _mail())


def test_a_server_that_hangs_up_is_unavailable() -> None:
    """A connection that is closed at once is tried again."""
    with raw_server(lambda *_: None) as (host, port), pytest.raises(Unavailable):
        _send(f"smtp://{host}:{port}", _mail())


def test_a_drip_of_bytes_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that greets one byte at a time, for ever, is left in time."""
    monkeypatch.setattr(smtp, "OVERALL_SECONDS", 0.5)

    def greet_slowly(connection: socket.socket, over: threading.Event) -> None:
        while not over.wait(0.05):
            connection.sendall(b"2")

    started = time.monotonic()
    with raw_server(greet_slowly) as (host, port), pytest.raises(Unavailable, match="within"):
        _send(f"smtp://{host}:{port}", _mail())
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("url", ["", "http://x", "smtp://", "smtp://host:port", "smtp://h:99999"])
def test_a_wrong_url_is_named(url: str) -> None:
    """A mistake in the setting is reported with the setting's name."""
    with pytest.raises(ConfigurationError, match="DOORBELL_SMTP_URL"):
        Target.from_url(url)


def test_a_password_with_signs_is_understood() -> None:
    """User and password may hold signs that a URL writes with percent."""
    server = Target.from_url("smtps://a%40b:p%2Fw@mail.example.org")
    assert (server.user, server.password, server.port) == ("a@b", "p/w", 465)
