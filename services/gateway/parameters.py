"""Checks of what stands in an address or a header."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Path, Query, Request

from services.gateway.problems import Problem
from services.gateway.reports import MAX_KEY_LENGTH, FieldError, refuse_control_characters

_KEY = re.compile(r"[\x20-\x7e]{1,200}")

# An application's user id may well contain a slash: its routes take it as a path.
UserInPath = Annotated[str, Path(min_length=1, max_length=MAX_KEY_LENGTH)]
UserInQuery = Annotated[str, Query(min_length=1, max_length=MAX_KEY_LENGTH)]


def invalid_parameter(field: str, message: str) -> Problem:
    return Problem(422, f"the parameter {field} is not valid", [FieldError(field, message)])


def checked_user(user_id: str) -> str:
    """The user id, once it is sure that the database can take it."""
    try:
        return refuse_control_characters(user_id)
    except ValueError as error:
        raise invalid_parameter("user_id", str(error)) from None


def idempotency_key(request: Request) -> str | None:
    """The header Idempotency-Key, if it was sent; 422 when it cannot be a key."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not _KEY.fullmatch(key.strip()):
        error = FieldError("Idempotency-Key", "must be 1 to 200 printable ASCII characters")
        raise Problem(422, "a header is not valid", [error])
    return key.strip()
