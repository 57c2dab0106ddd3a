"""The words of a notice."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from services.domain.errors import Refused
from services.handlers.message import compose_delivery, compose_mail
from services.handlers.ports import Notice

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
    level=None,
    action=None,
)


def test_a_mail_says_who_when_and_where() -> None:
    """The facts that let a user recognise a sign-in are in both bodies."""
    mail = compose_mail(NOTICE)
    assert mail.message_id == f"<{UUID(int=7)}@doorbell>"
    for fact in ("ada", "01 March 2026, 09:30 UTC", "203.0.113.7", "an unknown device"):
        assert fact in mail.text
        assert fact in mail.html


def test_what_others_wrote_cannot_become_markup_or_a_header() -> None:
    """Names from outside are escaped in HTML and stay on one line in the subject."""
    mail = compose_mail(replace(NOTICE, user_id="<b>x</b>", tenant_name="A\r\nBcc: eve"))
    assert "<b>" not in mail.html
    assert mail.subject == "New sign-in to A Bcc: eve"


def test_a_locked_user_is_told_so() -> None:
    """The second notice says what happened to the account."""
    mail = compose_mail(replace(NOTICE, reason="verdict", level="high", action="deny"))
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
    notice = replace(NOTICE, reason="verdict", level="high", action="challenge")
    body = json.loads(compose_delivery(notice).body)
    assert (body["level"], body["locked"]) == ("high", False)
    body = json.loads(compose_delivery(replace(notice, action="deny")).body)
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
        compose_mail(replace(NOTICE, email=None))
