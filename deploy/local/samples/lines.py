"""Lines of user agents: strings that differ in versions only, a device before and after updates."""

from __future__ import annotations

import re

_VERSION = re.compile(
    r"(?<=/)[\w.]+|(?<=OS )[\d_.]+|(?<=OS X )[\d_.]+|(?<=rv:)[\d.]+"
    r"|(?<=Android )[\d.]+|(?<=CrOS x86_64 )[\d.]+"
)


def line_of(user_agent: str) -> str:
    """The string without its versions."""
    return _VERSION.sub("#", user_agent)
