"""What a user agent says of its device, as a key and in words."""

from __future__ import annotations

import pytest

from services.domain.device import Traits
from services.domain.network import Network
from services.handlers.fingerprint import describe, fingerprint, traits_of

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0"
SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1"
)
CHROME_ON_ANDROID = (
    "Mozilla/5.0 (Linux; Android {0}; {1}) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/{2}.0.0.0 Mobile Safari/537.36"
)


def test_an_update_does_not_make_a_new_device() -> None:
    """Versions are left out."""
    assert traits_of(FIREFOX.format(142)) == traits_of(FIREFOX.format(143))


def test_another_browser_is_another_device() -> None:
    """Traits tell devices apart."""
    assert fingerprint(traits_of(FIREFOX.format(143)), Network("DE")) != fingerprint(
        traits_of(SAFARI), Network("DE")
    )


def test_providers_of_no_known_country_are_told_apart() -> None:
    """As they are when a network is usual or not."""
    traits = traits_of(SAFARI)
    assert fingerprint(traits, Network("", 1)) != fingerprint(traits, Network("", 2))


def test_a_user_agent_cannot_be_read_back() -> None:
    """The key does not hold what it was made of."""
    assert "secret" not in fingerprint(traits_of("secret-program/1.0"), Network())


@pytest.mark.parametrize(
    ("user_agent", "traits"),
    [
        (FIREFOX.format(143), Traits("Firefox", "Firefox Gecko Mozilla", "Windows", "")),
        (
            SAFARI,
            Traits("Mobile Safari", "AppleWebKit Mobile Mozilla Safari Version", "iOS", "iPhone"),
        ),
        (
            CHROME_ON_ANDROID.format(13, "SM-G991B", 109),
            Traits(
                "Chrome Mobile", "AppleWebKit Chrome Mobile Mozilla Safari", "Android", "SM-G991B"
            ),
        ),
        # Chrome has said no more of the model since version 110.
        (
            CHROME_ON_ANDROID.format(10, "K", 139),
            Traits("Chrome Mobile", "AppleWebKit Chrome Mobile Mozilla Safari", "Android", ""),
        ),
        ("AnApp-1.2.3 Chrome/120.0", Traits("Chrome", "AnApp Chrome", "", "")),
        ("curl/8.5.0", Traits("curl", "curl", "", "")),
        ("FooApp/1.0 (build 7)", Traits("FooApp", "FooApp", "", "")),
        ("Mozilla/5.0 (compatible; Googlebot/2.1)", Traits("Googlebot", "Mozilla", "", "")),
        ("Mozilla/5.0", Traits("", "Mozilla", "", "")),
        ("", Traits("", "", "", "")),
    ],
)
def test_a_user_agent_has_traits(user_agent: str, traits: Traits) -> None:
    """Of browsers, of programs that are none, and of what nobody knows."""
    assert traits_of(user_agent) == traits


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        (FIREFOX.format(143), "Firefox on Windows"),
        (SAFARI, "Mobile Safari on iOS"),
        ("curl/8.5.0", "curl"),
        ("FooApp/1.0", "FooApp"),
        ("", "an unknown device"),
        ("\U0001f600" * 20_000, "an unknown device"),
    ],
)
def test_a_device_has_words(user_agent: str, words: str) -> None:
    """Any user agent has a description, however odd it is."""
    assert describe(user_agent) == words
