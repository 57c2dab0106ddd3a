"""The device behind a login, by cookie or by families."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from services.domain.model import Login
from services.handlers.fingerprint import describe, fingerprint

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0"
SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1"
)


def _fingerprint(user_agent: str, device_cookie: str | None = None) -> str:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    login = Login(UUID(int=1), "shop", "e1", "ada", at, "203.0.113.7", user_agent, device_cookie)
    return fingerprint(login)


def test_an_update_does_not_make_a_new_device() -> None:
    """Versions are left out."""
    assert _fingerprint(FIREFOX.format(142)) == _fingerprint(FIREFOX.format(143))


def test_another_browser_is_another_device() -> None:
    """Families tell devices apart."""
    assert _fingerprint(FIREFOX.format(143)) != _fingerprint(SAFARI)


def test_a_cookie_counts_more_than_the_user_agent() -> None:
    """The same cookie is the same device whatever the browser says, and another is another."""
    assert _fingerprint(SAFARI, "c1") == _fingerprint(FIREFOX.format(1), "c1")
    assert _fingerprint(SAFARI, "c1") != _fingerprint(SAFARI, "c2")
    assert _fingerprint(SAFARI, "c1") != _fingerprint(SAFARI)


def test_a_cookie_cannot_be_read_back() -> None:
    """What is stored does not hold the cookie."""
    assert "secret-cookie" not in _fingerprint(SAFARI, "secret-cookie")


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        (FIREFOX.format(143), "Firefox on Windows"),
        (SAFARI, "Mobile Safari on iOS"),
        ("curl/8.5.0", "curl"),
        ("", "an unknown device"),
        ("\U0001f600" * 20_000, "an unknown device"),
    ],
)
def test_a_device_has_words(user_agent: str, words: str) -> None:
    """Any user agent has a description, however odd it is."""
    assert describe(user_agent) == words
