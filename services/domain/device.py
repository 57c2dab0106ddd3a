"""Whether a login came from a device that its user is known by: cookie first, else what the browser says of itself.

Versions are no part of it, since they change under the same device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

GENERIC_SYSTEM = "Linux"
DISTRIBUTIONS = frozenset(
    {"Ubuntu", "Fedora", "Debian", "Linux Mint", "openSUSE", "SUSE", "CentOS", "Red Hat"}
)
"""What browsers used to say in place of `Linux`, and newer versions of them do not."""

_DESKTOP_PAGES = frozenset({("Android", "Linux"), ("iOS", "Mac OS X")})
"""What a phone's browser is, and says that it is where it asks for the page that desktops get."""
_VARIANTS = frozenset({"Mobile", "iOS"})


@dataclass(frozen=True, slots=True)
class Traits:
    """What a user agent says of its device, without any version. Empty: it does not say.

    products: the names that it goes by, of which a browser has several; apps add theirs to their system's browser.
    """

    browser: str
    products: str
    system: str
    model: str


@dataclass(frozen=True, slots=True)
class Device:
    """A device of a user.

    is_signed_in: somebody has signed in on it, so that its user was told, or had no need to be.
    products, model: None where nobody knows what was told.
    has_same_words: where that is so, the login at hand has the same words for people.
    has_cookie: the login at hand carries a cookie that was given to this device.
    is_cookie_kept: and that had come back before.
    """

    id: UUID
    first_workflow_id: UUID
    is_first_of_user: bool
    is_signed_in: bool
    browser: str
    products: str | None
    system: str
    model: str | None
    last_seen_at: datetime
    has_same_words: bool = False
    has_cookie: bool = False
    is_cookie_kept: bool = False


def recognise(
    traits: Traits, devices: Sequence[Device], *, is_network_usual: bool = True
) -> Device | None:
    """The device among a user's that a login came from; None: none of them.

    The one that has the login's cookie, unless browser or system is another: a browser
    keeps its cookies to itself, so that cookie was copied. Else the one that the
    browser looks like, in a network that is usual for the user; of several the last seen.
    """
    kept = [device for device in devices if device.has_cookie and _may_keep(traits, device)]
    if kept or not is_network_usual:
        return _last_seen(kept)
    return _last_seen([device for device in devices if _looks_like(traits, device)])


def _looks_like(traits: Traits, device: Device) -> bool:
    if device.products is None:
        return device.has_same_words
    # A new version may tell less than the one before, never more.
    return (
        traits.browser == device.browser
        and device.products == traits.products
        and _is_system(traits.system, device.system)
        and traits.model in ("", device.model)
    )


def _may_keep(traits: Traits, device: Device) -> bool:
    systems = (device.system, traits.system)
    return _line(traits.browser) == _line(device.browser) and any(
        _is_system(now, before) or (before, now) in _DESKTOP_PAGES
        for before, now in (systems, systems[::-1])
    )


def _is_system(now: str, before: str) -> bool:
    return now == before or (now == GENERIC_SYSTEM and before in DISTRIBUTIONS)


def _line(browser: str) -> str:
    return " ".join(word for word in browser.split() if word not in _VARIANTS)


def _last_seen(devices: list[Device]) -> Device | None:
    return max(devices, key=lambda device: (device.last_seen_at, device.id), default=None)
