"""The words of a notice."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from services.domain.errors import Refused
from services.domain.network import Network
from services.domain.notice_link import read_token
from services.handlers.message import compose_delivery, compose_mail
from services.handlers.records import Notice
from services.handlers.wording import LANGUAGES, wording_for

NOTICE = Notice(
    id=UUID(int=7),
    workflow_id=UUID(int=1),
    tenant_id="shop",
    tenant_name="The Shop",
    user_id="ada",
    reason="new_device",
    channel="email",
    state="sending",
    receipt=None,
    email="ada@example.org",
    webhook_url="https://example.org/hook",
    webhook_secret="secret",
    occurred_at=datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
    ip="203.0.113.7",
    user_agent="",
    auth_method=None,
    locale=None,
    time_zone=None,
    level=None,
    switches=None,
    is_late=False,
    recorded_at=datetime(2026, 3, 1, 9, 31, tzinfo=UTC),
    link_key=UUID(int=3),
)


NOWHERE = Network()
PIXEL = (
    "Mozilla/5.0 (Linux; Android 13; Pixel 7) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/109.0.0.0 Mobile Safari/537.36"
)


def test_a_mail_says_who_when_and_where() -> None:
    """The facts that let a user recognise a sign-in are in both bodies."""
    mail = compose_mail(NOTICE, NOWHERE)
    assert mail.message_id == f"<{UUID(int=7)}@doorbell>"
    for fact in ("ada", "1 March 2026, 09:30 (UTC)", "203.0.113.7", "an unknown device"):
        assert fact in mail.text
        assert fact in mail.html
    assert "Place" not in mail.text


def test_a_mail_has_a_link_for_each_answer() -> None:
    """In both bodies, and the same at every attempt; without an address of ours it has none."""
    mail = compose_mail(NOTICE, NOWHERE, "https://doorbell.example.org")
    assert mail == compose_mail(NOTICE, NOWHERE, "https://doorbell.example.org")
    found = re.findall(
        r"https://doorbell\.example\.org/notice\?t=([\w.-]+)$", mail.text, re.MULTILINE
    )
    links = [read_token(token) for token in found]
    assert [link and link.act for link in links] == ["confirm", "disown"]
    assert all(link and link.is_signed_with(NOTICE.link_key) for link in links)
    assert all(
        f'href="https://doorbell.example.org/notice?t={token}"' in mail.html for token in found
    )
    assert "://" not in compose_mail(NOTICE, NOWHERE).text


@pytest.mark.parametrize(
    ("changes", "has_way_out"),
    [
        ({"may_unsubscribe": True}, True),
        ({"may_unsubscribe": True, "reason": "folded"}, True),
        ({"may_unsubscribe": True, "reason": "verdict", "level": "high"}, False),
        ({}, False),
    ],
)
def test_a_mail_about_a_new_device_has_a_way_out_where_the_policy_says_so(
    changes: dict[str, Any], has_way_out: bool
) -> None:
    """In both bodies and for the mail program; of what does not look like the user there is none."""
    mail = compose_mail(replace(NOTICE, **changes), NOWHERE, "https://doorbell.example.org")
    assert (mail.unsubscribe_url is not None) == has_way_out
    assert ("No more mails" in mail.text) == ("No more mails" in mail.html) == has_way_out
    if mail.unsubscribe_url is not None:
        link = read_token(mail.unsubscribe_url.partition("?t=")[2])
        assert link is not None
        assert (link.act, link.is_signed_with(NOTICE.link_key)) == ("unsubscribe", True)
        assert mail.unsubscribe_url in mail.text
    assert compose_mail(replace(NOTICE, **changes), NOWHERE).unsubscribe_url is None


def test_a_late_verdict_says_that_it_is_late() -> None:
    """In the mail and to the application."""
    late = replace(NOTICE, reason="verdict", level="high", is_late=True)
    assert "only now" in compose_mail(late, NOWHERE).text
    assert "only now" in compose_mail(late, NOWHERE).html
    assert json.loads(compose_delivery(late).body)["late"] is True
    assert "only now" not in compose_mail(replace(late, is_late=False), NOWHERE).text


def test_a_mail_speaks_the_users_language_by_the_users_clock() -> None:
    """With a guess at the place, and how the user signed in."""
    notice = replace(
        NOTICE, locale="de-AT", time_zone="Europe/Vienna", user_agent=PIXEL, auth_method="passkey"
    )
    mail = compose_mail(notice, Network("AT", 8412, "Example Net"))
    assert mail.subject == "Neue Anmeldung bei The Shop"
    for fact in (
        "1. März 2026, 10:30 (Europe/Vienna)",
        "Chrome Mobile unter Android (Pixel 7)",
        "Österreich (ungefähr, nach der Adresse)",
        "Example Net",
        "passkey",
    ):
        assert fact in mail.text
        assert fact in mail.html
    assert mail.language == "de-AT"
    assert '<html lang="de-AT">' in mail.html


@pytest.mark.parametrize("locale", ["fr-CA", "tlh", "xx-YY-zz", "i-klingon", "en", None])
def test_whoevers_language_we_do_not_speak_is_written_to_in_english(locale: str | None) -> None:
    """And no locale that the gateway takes makes a mail fail."""
    assert (
        compose_mail(replace(NOTICE, locale=locale), NOWHERE).subject == "New sign-in to The Shop"
    )


def test_what_others_wrote_cannot_become_markup_or_a_header() -> None:
    """Names from outside are escaped in HTML and stay on one line in the subject."""
    mail = compose_mail(
        replace(NOTICE, user_agent="<b>x</b>/1", user_id="<i>", tenant_name="A\r\nBcc: {eve}"),
        NOWHERE,
    )
    assert "<b>" not in mail.html
    assert "<i>" not in mail.html
    assert mail.subject == "New sign-in to A Bcc: {eve}"


def test_what_others_wrote_can_neither_turn_text_around_nor_hide_it() -> None:
    """Overrides of direction, invisible signs, stacked marks and absurd lengths."""
    mail = compose_mail(
        replace(NOTICE, user_id="a\u202eb\u200bc\u2066" + "e\u0301\u0301\u0301\u0301" * 500),
        NOWHERE,
    )
    [line] = [line for line in mail.text.splitlines() if line.startswith("Account")]
    assert line.startswith("Account: abce\u0301\u0301e")
    assert "\u0301\u0301\u0301" not in line
    assert len(line) < 120


@pytest.mark.parametrize(
    "model", ["Your account is at risk, go to evil.example", "http://evil.example/", "evil.example"]
)
def test_a_user_agent_puts_no_link_and_no_sentence_into_a_mail(model: str) -> None:
    """Which mail programs would make clickable, and readers believe."""
    mail = compose_mail(replace(NOTICE, user_agent=PIXEL.replace("Pixel 7", model)), NOWHERE)
    assert "Device: Chrome Mobile on Android\n" in mail.text
    assert "evil" not in mail.text + mail.html


@pytest.mark.parametrize(
    "model", ["Call 0800 123 456", "+49 (30) 123-4567", "0800_123_456 Service", "8001234567"]
)
def test_a_user_agent_puts_no_telephone_number_into_a_mail(model: str) -> None:
    """Which readers would call, and telephones make clickable."""
    mail = compose_mail(replace(NOTICE, user_agent=PIXEL.replace("Pixel 7", model)), NOWHERE)
    assert "Device: Chrome Mobile on Android\n" in mail.text


@pytest.mark.parametrize("model", ["2201117TY", "SM-S918B", "Redmi Note 8 Pro"])
def test_models_have_numbers_in_their_names(model: str) -> None:
    """By which their owners know them."""
    mail = compose_mail(replace(NOTICE, user_agent=PIXEL.replace("Pixel 7", model)), NOWHERE)
    assert f"Device: Chrome Mobile on Android ({model})\n" in mail.text


def test_every_language_says_the_same_things() -> None:
    """A language that lacks one would fail when it is needed."""

    def shape(words: object) -> object:
        if isinstance(words, dict):
            return {key: shape(value) for key, value in words.items()}
        return sorted(re.findall(r"{\w+}", str(words)))

    first, *others = (shape(wording_for(language).words) for language in LANGUAGES)
    assert all(other == first for other in others)


def test_a_locked_user_is_told_so() -> None:
    """The second notice says what happened to the account."""
    mail = compose_mail(
        replace(NOTICE, reason="verdict", level="high", switches=("locked",)), NOWHERE
    )
    assert "locked" in mail.text
    assert mail.subject == "Unusual sign-in to The Shop"


def test_a_delivery_is_json_with_the_notice_s_id() -> None:
    """An application finds type, ids and facts in the body."""
    delivery = compose_delivery(NOTICE)
    body = json.loads(delivery.body)
    assert delivery.id == body["id"] == str(NOTICE.id)
    assert body["type"] == "notice.new_device"
    assert body["occurred_at"] == "2026-03-01T09:30:00+00:00"
    assert "level" not in body


def test_a_delivery_about_a_verdict_says_what_it_was_and_did() -> None:
    """An application learns the level, and whether the account is locked for it."""
    notice = replace(NOTICE, reason="verdict", level="high", switches=("require_step_up",))
    body = json.loads(compose_delivery(notice).body)
    assert (body["level"], body["locked"]) == ("high", False)
    body = json.loads(compose_delivery(replace(notice, switches=("locked",))).body)
    assert (body["level"], body["locked"]) == ("high", True)


@pytest.mark.parametrize(
    "notice", [replace(NOTICE, webhook_url=None), replace(NOTICE, webhook_secret=None)]
)
def test_a_webhook_needs_target_and_secret(notice: Notice) -> None:
    """Nothing is sent unsigned, and the error says what to set."""
    with pytest.raises(Refused, match="webhook_secret"):
        compose_delivery(notice)


def test_a_mail_needs_an_address() -> None:
    """A login that lost its address cannot be told by mail."""
    with pytest.raises(Refused, match="no address"):
        compose_mail(replace(NOTICE, email=None), NOWHERE)


@pytest.mark.parametrize(
    ("locale", "logins", "subject"),
    [
        ("en", 1, "One more sign-in to The Shop"),
        ("en", 12, "12 more sign-ins to The Shop"),
        ("de", 1, "Eine weitere Anmeldung bei The Shop"),
        ("de", 12, "12 weitere Anmeldungen bei The Shop"),
    ],
)
def test_one_sign_in_is_one(locale: str, logins: int, subject: str) -> None:
    """A mail about those that were put aside counts as people do."""
    mail = compose_mail(replace(NOTICE, reason="folded", locale=locale, logins=logins), NOWHERE)
    assert mail.subject == subject
    assert " 1 " not in mail.text.partition(":")[0]


@pytest.mark.parametrize("locale", LANGUAGES)
@pytest.mark.parametrize("switch", ["locked", "require_step_up"])
def test_a_lockdown_is_about_the_account_and_no_sign_in(locale: str, switch: Any) -> None:
    """Nothing of the login by which its user is reached, and no link that answers for one."""
    told = replace(
        NOTICE,
        reason="lockdown",
        switches=[switch],
        incident_id=UUID(int=9),
        locale=locale,
        may_unsubscribe=True,
    )
    mail = compose_mail(told, NOWHERE, "https://doorbell.example.org")
    words = wording_for(locale).words[f"lockdown_{switch}"]
    assert mail.subject == str(words["subject"]).format(app="The Shop")
    for body in (mail.text, mail.html):
        assert "ada" in body
        assert "203.0.113.7" not in body
        assert "doorbell.example.org" not in body
    assert mail.unsubscribe_url is None
    assert json.loads(compose_delivery(told).body) == {
        "id": str(UUID(int=7)),
        "type": "notice.lockdown",
        "user_id": "ada",
        "incident_id": str(UUID(int=9)),
        "switch": switch,
    }
