"""Reads messages' JSON without asking Python about each object in it."""

from __future__ import annotations

import json
from typing import Any

from kombu.serialization import register
from kombu.utils import json as kombu_json

_MARK = "__type__"
"""How kombu writes what JSON has no form for, such as a date."""

_ESCAPED = "\\u00"
"""Such a mark may be written so; nobody does."""


def read_quickly() -> None:
    """Have kombu's serializer `json` decode a message without objects of kombu's own by the C decoder alone.

    The values are the same. kombu (5.7) calls a function for each object. Idempotent.
    """
    register(
        "json",
        kombu_json.dumps,
        loads,
        content_type="application/json",
        content_encoding="utf-8",
    )


def loads(data: Any) -> Any:
    """As kombu's; raises what it raises."""
    text = data.decode() if isinstance(data, bytes) else data
    if not isinstance(text, str) or _MARK in text or _ESCAPED in text:
        return kombu_json.loads(data)
    return json.loads(text)
