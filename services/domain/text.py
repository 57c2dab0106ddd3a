"""Makes what others wrote fit to stand in a line that people read."""

from __future__ import annotations

import unicodedata

_MARKS = 2
"""Marks on one letter; languages need two, stacks of them cover the lines above and below."""
_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and signs without ink, which can pass for nothing or for spaces."""
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Controls, what turns text around or is not seen at all, and what is no character (Unicode, general categories)."""


def one_line(text: str, longest: int) -> str:
    """The text on one line, in its own order, of at most so many characters.

    Nothing that is left in it can end a line, turn the text behind it around, hide, or
    cover other lines; runs of spaces are one. Idempotent. It is no markup's escape.
    """
    seen = "".join(
        " " if char in "\t\n\v\f\r" or unicodedata.category(char) in ("Zl", "Zp", "Zs") else char
        for char in text[: longest * 8]
        if char in "\t\n\v\f\r"
        or (char not in _BLANKS and unicodedata.category(char) not in _UNSEEN - {"Zl", "Zp"})
    )
    words = " ".join(_without_stacks(seen).split())
    return words if len(words) <= longest else f"{words[: longest - 1].rstrip()}\u2026"


def _without_stacks(text: str) -> str:
    kept: list[str] = []
    marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.category(char)[0] == "M" else 0
        if marks <= _MARKS:
            kept.append(char)
    return "".join(kept)
