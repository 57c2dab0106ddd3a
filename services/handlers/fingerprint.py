"""What a user agent says of its device: for recognition, as a key, and in words for people."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from ua_parser import parse

from services.domain.device import Traits
from services.domain.network import Network

_UNKNOWN = "unknown"
_LONGEST = 512
"""Characters of a user agent that are looked at: real ones are shorter, and time stays bounded."""
_PROGRAM = re.compile(r"(?!Mozilla/)([A-Za-z][\w-]{0,63})/\S", re.ASCII)
"""How a program that is no browser gives its name (RFC 9110, 10.1.5); without dots: mails would show a link."""
_COMMENT = re.compile(r"\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\]]*\]")
_PRODUCT = re.compile(r"(?:^|(?<=\s))[A-Za-z][\w.-]*(?=/|\s|$)", re.ASCII)
_VERSION = re.compile(r"[-.]\d.*")
"""How some write it behind their name, where a / should stand."""
_RENAMED = {"Edge": "Edg", "DuckDuckGo": "Ddg"}
"""Products that a newer version gave another name."""
_MODEL = re.compile(
    r"\bAndroid [\d.]+; (?:[a-z]{2}[-_][A-Za-z]{2}; )?([^;()]{1,64}?)(?: Build/[^;)]*)?[;)]"
)
_NO_MODEL = frozenset(
    {
        *("K", "Mobile", "Tablet"),  # K: what reduced user agents of Chrome say
        *("Spider", "Other", "iOS-Device", "Mac"),
        *("Generic Smartphone", "Generic Tablet", "Generic Feature Phone"),
    }
)


def fingerprint(traits: Traits, network: Network) -> str:
    """A key for devices that look the same, and were first seen in a network; none of it can be read from it."""
    facts = (traits.browser, traits.products, traits.system, traits.model)
    digest = hashlib.sha256(
        "\x1f".join((*facts, network.country or str(network.asn))).encode(errors="surrogatepass")
    )
    return f"traits:{digest.hexdigest()[:32]}"


@lru_cache(maxsize=4096)
def traits_of(user_agent: str) -> Traits:
    """What a user agent says of browser or program, system and model."""
    families = _families(user_agent)
    browser, system, device = ("" if family == _UNKNOWN else family for family in families)
    browser = browser or _program(user_agent)
    if browser == _UNKNOWN:
        browser = ""
    products = _products(user_agent[:_LONGEST])
    if told := _MODEL.search(user_agent[:_LONGEST]):
        device = told[1].strip()
    elif system == "Mac OS X" and "Mobile" in products:
        device = "iPad"  # it asks for the desktop's page
    return Traits(browser, " ".join(products), system, "" if device in _NO_MODEL else device)


def describe(user_agent: str) -> str:
    """The device in words for people, such as "Firefox on Windows"."""
    browser, system, device = _families(user_agent)
    if browser == _UNKNOWN:
        browser = _program(user_agent)
    return _say(browser, system, device)


def describe_families(user_agent: str) -> str:
    """The words of `describe` for what the parser's data know, and nothing else."""
    return _say(*_families(user_agent))


def _say(browser: str, system: str, device: str) -> str:
    if system == _UNKNOWN:
        system = device
    known = (browser != _UNKNOWN, system != _UNKNOWN)
    if known == (True, True):
        return f"{browser} on {system}"
    if known == (False, False):
        return "an unknown device"
    return browser if known[0] else system


@lru_cache(maxsize=4096)
def _families(user_agent: str) -> tuple[str, str, str]:
    found = parse(user_agent[:_LONGEST])
    return (
        found.user_agent.family if found.user_agent else _UNKNOWN,
        found.os.family if found.os else _UNKNOWN,
        found.device.family if found.device else _UNKNOWN,
    )


def _products(user_agent: str) -> list[str]:
    names = _PRODUCT.findall(_COMMENT.sub(" ", user_agent))
    bare = (_VERSION.sub("", name) for name in names)
    return sorted({_RENAMED.get(name, name) for name in bare})


def _program(user_agent: str) -> str:
    named = _PROGRAM.match(user_agent)
    return named[1] if named else _UNKNOWN
