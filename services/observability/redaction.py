"""Takes what is personal or secret out of texts that are logged, stored as errors, or shown in Flower."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any

_NAMES = (
    r"(?:user_)?e?mail|recipient|(?:ip|remote)(?:_?addr(?:ess)?)?|user[_-]agent|(?:device_)?cookie|set-cookie|"
    r"(?:access_|id_)?token|password|passwd|(?:webhook[_-]|client_)?secret|api_?key|authorization|input_value"
)
_SECRETS = r"(?:set-|device_)?cookie|(?:access_|id_)?token|passw(?:or)?d|(?:webhook[_-]|client_)?secret|api_?key"
_NAME = re.compile(_NAMES, re.IGNORECASE)
_SECRET_IN_URL = re.compile(r"(?<=://)[^\s/@]+@")
_SECRET = re.compile(
    r"\bwhsec_[\w+/=-]+|(?<=\bbearer )[\w.~+/=-]{8,}|(?<=\bbasic )[\w+/=-]{16,}", re.IGNORECASE
)
# Lengths are bounded: a long text from outside must not make this slow.
# PostgreSQL quotes rows and values there; the first line says what went wrong.
_DETAIL = re.compile(r"(DETAIL|CONTEXT):\s[^\n]*")
_BAD_INPUT = re.compile(
    r"((?:invalid input \w+ for \w+|out of range|malformed array literal)[^\n\"]{0,200}: )\"[^\n]*\""
)
_NAMED = re.compile(
    rf"(?<![a-z0-9])({_NAMES})(\\*[\"']?\s*[=:]\s*b?)(?P<quote>\\*[\"']).{{0,4096}}?(?<!\\)(?P=quote)",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(rf"(?<![a-z0-9])({_NAMES})=(?![\"'\[])[^\s,;&)\]}}]+", re.IGNORECASE)
# As headers are written. Of other names, what follows is known by its own form, or is a sentence.
_FOLLOWED = re.compile(
    rf"(?<![a-z0-9])({_SECRETS}):[ \t]{{1,8}}(?![\"'\[<])[^\s,;&)\]}}]+(?:;[ \t]?[^\s,;&)\]}}]+)*",
    re.IGNORECASE,
)
_MAIL_ADDRESS = re.compile(
    # Signs that usually stand around an address count as its own after a letter only: o'brien@...
    r"(?:[^\s@<>()\[\]{}\"'`,;:=\\/|]|(?<=\w)['`{}|/=]){1,64}(?:@|%40)"
    r"[^\s@<>()\[\]{}\"'`,;:\\/|]{1,253}\.[\w-]+"
)
_USER_AGENT = re.compile(
    r"\b[A-Z]\w+/\d[\w.]*\s+\([^)\n]*\)?(?:[ \t]*(?:\([^)\n]*\)|[\w.!-]+/[\w.+:-]+|like Gecko|Mobile|Safari))*"
)
_ADDRESS = re.compile(
    r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\w)"
    r"|(?<![0-9A-Za-z_])[0-9A-Fa-f:]{0,40}:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{0,40}"
)


def redact(text: str) -> str:
    """`text` without mail addresses, IP addresses, user agents, secrets, and values of fields named like these.

    Idempotent. Loopback addresses stay, for they are no person's; so do names of
    hosts. A free word, such as a device's cookie, is known only by the name in
    front of it: do not rely on this where such a word stands alone.
    """
    text = _DETAIL.sub(r"\1: [redacted]", text)
    text = _BAD_INPUT.sub(r'\1"[redacted]"', text)
    text = _SECRET_IN_URL.sub("[secret]@", text)
    text = _SECRET.sub("[secret]", text)
    text = _NAMED.sub(r"\1\2\3[redacted]\3", text)
    text = _ASSIGNED.sub(r"\1=[redacted]", text)
    text = _FOLLOWED.sub(r"\1: [redacted]", text)
    text = _USER_AGENT.sub("[user agent]", text)
    text = _MAIL_ADDRESS.sub("[email]", text)
    return _ADDRESS.sub(_without_address, text)


def redact_values(value: Any) -> Any:
    """A decoded JSON value with every text in it redacted; names of fields stay."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {
            name: "[redacted]" if each and _NAME.fullmatch(str(name)) else redact_values(each)
            for name, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact_values(each) for each in value]
    return value


def _without_address(found: re.Match[str]) -> str:
    text = found[0].rstrip(".:") if not found[0].endswith("::") else found[0]
    try:
        address = ip_address(text)
    except ValueError:
        return found[0]
    if address.is_loopback or address.is_unspecified:
        return found[0]
    return "[ip]" + found[0][len(text) :]
