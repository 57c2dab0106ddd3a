"""By what a device is known again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from services.domain.device import Device, Traits, recognise

AT = datetime(2026, 3, 1, tzinfo=UTC)
PHONE = Device(
    UUID(int=1),
    UUID(int=11),
    True,
    True,
    "Chrome Mobile",
    "Chrome Mobile",
    "Android",
    "Pixel 7",
    AT,
)
DESKTOP = Device(UUID(int=2), UUID(int=12), False, True, "Firefox", "Firefox", "Ubuntu", "", AT)


def _traits(device: Device) -> Traits:
    return Traits(device.browser, device.browser, device.system, device.model or "")


def test_a_device_is_known_by_its_traits() -> None:
    """Each by its own."""
    assert recognise(_traits(PHONE), [PHONE, DESKTOP]) == PHONE
    assert recognise(_traits(DESKTOP), [PHONE, DESKTOP]) == DESKTOP


@pytest.mark.parametrize(
    "traits",
    [
        Traits("Chrome Mobile", "AnApp Chrome Mobile", "Android", "Pixel 7"),
        Traits("Firefox Mobile", "Firefox Mobile", "Android", "Pixel 7"),
        Traits("Chrome Mobile", "Chrome Mobile", "iOS", "Pixel 7"),
        Traits("Chrome Mobile", "Chrome Mobile", "Android", "Pixel 8"),
        Traits("", "", "", ""),
    ],
)
def test_what_differs_in_more_than_version_is_another_device(traits: Traits) -> None:
    """In app, browser, system, model, or all of them."""
    assert recognise(traits, [PHONE, DESKTOP]) is None


def test_a_new_version_may_tell_less() -> None:
    """Chrome no more of the model, Firefox no more of the distribution."""
    assert recognise(Traits("Chrome Mobile", "Chrome Mobile", "Android", ""), [PHONE]) == PHONE
    assert recognise(Traits("Firefox", "Firefox", "Linux", ""), [DESKTOP]) == DESKTOP


def test_a_new_version_does_not_tell_more() -> None:
    """Who tells a model where none was told before, or another distribution, is another device."""
    assert recognise(_traits(PHONE), [replace(PHONE, model="")]) is None
    assert recognise(_traits(DESKTOP), [replace(DESKTOP, system="Linux")]) is None
    assert recognise(Traits("Firefox", "Firefox", "Fedora", ""), [DESKTOP]) is None


def test_of_which_nobody_knows_more_words_have_to_do() -> None:
    """Devices that an earlier release remembered."""
    old = replace(PHONE, browser="", products=None, system="", model=None)
    assert recognise(_traits(PHONE), [old]) is None
    same = replace(old, has_same_words=True)
    assert recognise(_traits(PHONE), [same]) == same


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (Traits("Chrome", "Chrome", "Linux", ""), _traits(PHONE)),
        (
            Traits("Safari", "Safari", "Mac OS X", "iPad"),
            Traits("Mobile Safari", "", "iOS", "iPad"),
        ),
        (Traits("Firefox", "Firefox", "Linux", ""), _traits(DESKTOP)),
    ],
)
def test_a_cookie_counts_on_the_way_back_too(before: Traits, now: Traits) -> None:
    """From the desktop's page, or to a package that names its distribution."""
    kept = replace(
        PHONE,
        browser=before.browser,
        products=before.products,
        system=before.system,
        has_cookie=True,
    )
    assert recognise(now, [kept]) == kept


def test_a_cookie_counts_before_traits() -> None:
    """Also where another device looks more like it: a phone that asks for the desktop's page."""
    kept = replace(PHONE, has_cookie=True)
    looks = replace(DESKTOP, browser="Chrome", products="Chrome", system="Linux")
    assert recognise(Traits("Chrome", "Chrome", "Linux", ""), [kept, looks]) == kept


@pytest.mark.parametrize(
    "traits",
    [
        Traits("Chrome Mobile", "Chrome Mobile", "iOS", ""),
        Traits("Chrome", "Chrome", "Windows", ""),
        Traits("Firefox Mobile", "Firefox Mobile", "Android", ""),
    ],
)
def test_a_cookie_that_was_copied_counts_for_nothing(traits: Traits) -> None:
    """Browser or system is another: browsers keep their cookies to themselves."""
    assert recognise(traits, [replace(PHONE, has_cookie=True)]) is None


def test_who_copied_a_cookie_is_known_by_traits_all_the_same() -> None:
    """It is a device of the user's, whatever it does with cookies."""
    assert recognise(_traits(DESKTOP), [replace(PHONE, has_cookie=True), DESKTOP]) == DESKTOP


def test_of_several_the_last_seen_is_meant() -> None:
    """Two phones of which the login may be either."""
    later = replace(PHONE, id=UUID(int=3), model="Pixel 8", last_seen_at=AT + timedelta(days=1))
    assert (
        recognise(Traits("Chrome Mobile", "Chrome Mobile", "Android", ""), [later, PHONE]) == later
    )
