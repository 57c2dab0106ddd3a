"""JSON that means one thing: no repeated names, no NaN, valid UTF-8, bounded depth."""

from __future__ import annotations

import json
from typing import Any

from services.domain.errors import Refused
from services.domain.json_objects import once_each


class MalformedJson(Refused):
    """The body is not JSON."""


def parse(body: bytes) -> Any:
    """The value in `body`.

    Raises:
        MalformedJson: with a sentence that says what is wrong and where.
    """
    try:
        return _decoder.decode(body.decode())
    except UnicodeDecodeError as error:
        raise MalformedJson(f"the body is not UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        message = f"{error.msg} (line {error.lineno}, column {error.colno})"
        raise MalformedJson(message) from error
    except RecursionError as error:
        raise MalformedJson("the values are nested too deeply") from error
    except ValueError as error:  # a name that stands twice, an integer of thousands of digits
        raise MalformedJson(str(error)) from error


def render(value: Any) -> bytes:
    """ASCII, since a text from outside may hold half of a surrogate pair, which UTF-8 cannot."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _constant(name: str) -> Any:
    raise MalformedJson(f"{name} is not a JSON value")


_decoder = json.JSONDecoder(object_pairs_hook=once_each, parse_constant=_constant)
