"""Lets a message arrive whose headers nobody can decode."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from amqp import serialization
from amqp.spec import Basic

UNDECODABLE = {"x-death": "undecodable"}
"""Stands in the place of such headers: not what a broker writes there, so that workers take it out."""

_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS = 0x8000, 0x4000, 0x2000

Decode = Callable[[bytes, int], tuple[dict[str, Any], int]]


def tolerate_headers() -> None:
    """Have py-amqp (5.4) hand over a message with UNDECODABLE headers, where it would end the connection.

    It raises out of the consumer's loop over a time beyond the year 9999 or tables nested too
    deeply, the process ends, and the broker gives the next one the same message. Idempotent.
    """
    decoders: dict[int, Any] = serialization.PROPERTY_CLASSES
    decode = decoders[Basic.CLASS_ID]
    if not isinstance(decode, _Tolerant):
        decoders[Basic.CLASS_ID] = _Tolerant(decode)


class _Tolerant:
    """A decoder of a basic message's properties that leaves out what it cannot decode."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode

    def __call__(self, buffer: bytes, offset: int) -> tuple[dict[str, Any], int]:
        try:
            return self._decode(buffer, offset)
        except Exception:  # noqa: BLE001  # whatever anybody can write makes it raise
            return self._without_headers(bytes(buffer[offset:]), len(buffer))

    def _without_headers(self, buffer: bytes, end: int) -> tuple[dict[str, Any], int]:
        try:
            properties, _ = self._decode(_cut(buffer), 0)
        except Exception:  # noqa: BLE001  # what follows the headers may be as bad
            properties = {}
        return properties | {"application_headers": dict(UNDECODABLE)}, end


def _cut(buffer: bytes) -> bytes:
    """The same properties without the headers."""
    (flags,) = struct.unpack_from(">H", buffer)
    offset = 2
    for flag in (_CONTENT_TYPE, _CONTENT_ENCODING):
        if flags & flag:
            offset += 1 + buffer[offset]
    if not flags & _HEADERS:
        return buffer
    (length,) = struct.unpack_from(">I", buffer, offset)
    return struct.pack(">H", flags & ~_HEADERS) + buffer[2:offset] + buffer[offset + 4 + length :]
