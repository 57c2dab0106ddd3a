"""The words of a day's digest."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from email import message_from_bytes, policy
from html.parser import HTMLParser
from typing import Any

import pytest

from services.domain.digest import DeviceOfDay, Digest
from services.domain.errors import Refused
from services.domain.network import Network
from services.domain.notice_link import read_token
from services.handlers.digest_mail import compose_digest
from services.handlers.records import Mail, Notice
from tests.unit.handlers.test_message import NOTICE, PIXEL

DEVICE = DeviceOfDay(
    user_agent=PIXEL,
    ip="203.0.113.7",
    occurred_at=datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
    time_zone="Europe/Vienna",
    logins=3,
    is_new=True,
)
DIGEST = replace(
    NOTICE,
    reason="digest",
    digest=Digest(date(2026, 3, 1), [DEVICE], other_devices=0, other_logins=0),
)
PUBLIC = "https://doorbell.example.org"


def _compose(notice: Notice = DIGEST, public_url: str | None = None) -> Mail:
    return compose_digest(notice, lambda _: Network("AT", 8412, "Example Net"), public_url)


def _with(**facts: Any) -> Notice:
    assert DIGEST.digest is not None
    return replace(DIGEST, digest=replace(DIGEST.digest, devices=[replace(DEVICE, **facts)]))


def test_both_bodies_say_the_same() -> None:
    """Each device with what lets its user know it again, by the clock of where it was."""
    mail = _compose()
    assert mail.message_id == f"<{NOTICE.id}@doorbell>"
    assert mail.subject == "Your sign-ins to The Shop on 1 March 2026"
    for fact in (
        "Chrome Mobile on Android (Pixel 7)",
        "used for the first time that day",
        "3",
        "1 March 2026, 10:30 (Europe/Vienna)",
        "Austria (roughly, by the address)",
        "Example Net",
        "203.0.113.7",
    ):
        assert fact in mail.text
        assert fact in mail.html
    assert "first time" not in _compose(_with(is_new=False)).text
    assert "Further devices" not in mail.text + mail.html


def test_it_speaks_the_users_language() -> None:
    """Day, time and place too."""
    mail = _compose(replace(DIGEST, locale="de-AT"))
    assert mail.subject == "Ihre Anmeldungen bei The Shop am 1. März 2026"
    assert "Österreich (ungefähr, nach der Adresse)" in mail.text
    assert '<html lang="de-AT">' in mail.html


class _Outline(HTMLParser):
    """Headings in their order, and header cells of tables."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.cells: list[str | None] = []
        self.languages: list[str | None] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("h1", "h2", "h3"):
            self.headings.append(tag)
        if tag == "th":
            self.cells.append(dict(attrs).get("scope"))
        if tag == "html":
            self.languages.append(dict(attrs).get("lang"))


def test_a_screen_reader_finds_its_way() -> None:
    """A heading for each device below the mail's own, and a header for each line of its table."""
    assert DIGEST.digest is not None
    outline = _Outline(
        _compose(
            replace(DIGEST, digest=replace(DIGEST.digest, other_devices=2, other_logins=5))
        ).html
    )
    assert outline.headings == ["h1", "h2", "h2"]
    assert {*outline.cells} == {"row"}
    assert outline.languages == ["en-GB"]


def test_others_are_counted() -> None:
    """In both bodies."""
    assert DIGEST.digest is not None
    mail = _compose(replace(DIGEST, digest=replace(DIGEST.digest, other_devices=2, other_logins=5)))
    assert "Further devices\n  Devices: 2\n  Sign-ins: 5\n" in mail.text
    assert "Further devices" in mail.html


def test_what_others_wrote_cannot_become_markup_or_a_header() -> None:
    """Names from outside are escaped in HTML, and stay on one line everywhere."""
    notice = replace(
        _with(user_agent="<b>x</b>/1"), user_id="<i>\r\nBcc: eve", tenant_name="A\r\nBcc: {eve}"
    )
    mail = _compose(notice)
    assert "<b>" not in mail.html
    assert "<i>" not in mail.html
    assert mail.subject == "Your sign-ins to A Bcc: {eve} on 1 March 2026"
    assert "Account: <i> Bcc: eve\n" in mail.text
    parsed = message_from_bytes(f"Subject: {mail.subject}\r\n\r\n".encode(), policy=policy.default)
    assert parsed.keys() == ["Subject"]


@pytest.mark.parametrize(
    "model", ["Your account is at risk, go to evil.example", "http://evil.example/", "evil.example"]
)
def test_a_user_agent_puts_no_link_and_no_sentence_into_a_mail(model: str) -> None:
    """Which mail programs would make clickable, and readers believe."""
    mail = _compose(_with(user_agent=PIXEL.replace("Pixel 7", model)))
    assert "Chrome Mobile on Android\n" in mail.text
    assert "evil" not in mail.text + mail.html


def test_it_has_one_link_which_ends_them() -> None:
    """Where the policy lets users do without; it asks nobody whether it was them, for it tells of many sign-ins."""
    mail = _compose(replace(DIGEST, may_unsubscribe=True), PUBLIC)
    assert mail.unsubscribe_url is not None
    link = read_token(mail.unsubscribe_url.partition("t=")[2])
    assert link is not None
    assert (link.act, link.is_signed_with(NOTICE.link_key)) == ("unsubscribe", True)
    assert (mail.text.count("://"), mail.html.count("://")) == (1, 1)
    assert mail.unsubscribe_url in mail.text
    without = _compose(DIGEST, PUBLIC)
    assert (without.unsubscribe_url, "://" in without.text + without.html) == (None, False)


@pytest.mark.parametrize("notice", [replace(DIGEST, email=None), replace(DIGEST, digest=None)])
def test_it_needs_an_address_and_something_to_tell(notice: Notice) -> None:
    """A login that lost its address cannot be told by mail."""
    with pytest.raises(Refused, match="no address to go to, or no digest"):
        _compose(notice)
