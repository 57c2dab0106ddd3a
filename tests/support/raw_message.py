"""AMQP messages with headers that no client would write: any bytes that a table may have."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import amqp

_FLAGS = 0x8000 | 0x4000 | 0x2000 | 0x1000 | 0x0080
"""Content type, content encoding, headers, delivery mode, message id."""

BEYOND_ALL_YEARS = b"T" + struct.pack(">Q", 253_402_300_800)
HALF_A_CHARACTER = b"S" + struct.pack(">I", 3) + b"\xed\xa0\x80"
NO_TEXT = b"S" + struct.pack(">I", 2) + b"\xff\xfe"
DECIMAL = b"D\x02" + struct.pack(">i", 314)
BYTES = b"x" + struct.pack(">I", 2) + b"\xff\xfe"


def text(value: str) -> bytes:
    """A field's value: a long string."""
    encoded = value.encode()
    return b"S" + struct.pack(">I", len(encoded)) + encoded


def table(fields: Mapping[bytes, bytes]) -> bytes:
    """The bytes of a table, without its length: short names and values."""
    return b"".join(bytes([len(name)]) + name + value for name, value in fields.items())


def nested(depth: int) -> bytes:
    """A field's value: a table in a table in a table."""
    inner = b""
    for _ in range(depth):
        inner = b"\x01a" + b"F" + struct.pack(">I", len(inner)) + inner
    return b"F" + struct.pack(">I", len(inner)) + inner


class RawMessage(amqp.Message):  # type: ignore[misc]  # amqp has no types
    """A persistent JSON message with this table of headers, as its bytes stand."""

    def __init__(self, body: Any, headers: bytes, message_id: str = "") -> None:
        super().__init__(body)
        self._headers = headers
        self._id = message_id.encode()

    def _serialize_properties(self) -> bytes:
        return b"".join(
            (
                struct.pack(">H", _FLAGS),
                b"\x10application/json",
                b"\x05utf-8",
                struct.pack(">I", len(self._headers)),
                self._headers,
                b"\x02",
                bytes([len(self._id)]),
                self._id,
            )
        )
