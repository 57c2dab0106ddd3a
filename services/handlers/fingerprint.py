"""Which device a login came from: the same answer for the same device after a browser update."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from ua_parser import parse

from services.domain.model import Login

_UNKNOWN = "unknown"
_LONGEST = 512
"""Characters of a user agent that are looked at: real ones are shorter, and time stays bounded."""


def fingerprint(login: Login) -> str:
    """A stable id of the device: of its cookie if there is one, else of its families.

    Versions are left out, since they change under the same device. Neither the
    cookie nor the user agent can be read from it.
    """
    if login.device_cookie:
        return f"cookie:{_digest(login.device_cookie)}"
    return f"agent:{_digest(chr(31).join(families(login.user_agent)))}"


def describe(user_agent: str) -> str:
    """The device in words for people, such as "Firefox on Windows"."""
    browser, system, device = families(user_agent)
    if system == _UNKNOWN:
        system = device
    known = (browser != _UNKNOWN, system != _UNKNOWN)
    if known == (True, True):
        return f"{browser} on {system}"
    if known == (False, False):
        return "an unknown device"
    return browser if known[0] else system


@lru_cache(maxsize=4096)
def families(user_agent: str) -> tuple[str, str, str]:
    """The families of browser, system and device; `unknown` where nothing is recognised."""
    found = parse(user_agent[:_LONGEST])
    return (
        found.user_agent.family if found.user_agent else _UNKNOWN,
        found.os.family if found.os else _UNKNOWN,
        found.device.family if found.device else _UNKNOWN,
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]
