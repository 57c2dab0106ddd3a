"""Reads a request's JSON body within limits of size and time."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from services.gateway.problems import Problem
from services.gateway.strict_json import MalformedJson, parse

LOGIN_BYTES = 64 * 1024
BATCH_BYTES = 4 * 1024 * 1024
READ_SECONDS = 20.0
DISCARD_BYTES = 32 * 1024 * 1024
"""So much of a body that is too large is read and thrown away: a client that is
cut off while it sends sees a broken connection in place of the answer."""


async def read_json(request: Request, limit_bytes: int) -> Any:
    """The decoded body.

    Raises:
        Problem: 400 malformed, 408 too slow, 413 too large, 415 not JSON.
    """
    _check_media_type(request)
    try:
        async with asyncio.timeout(READ_SECONDS):
            body = await _read(request, limit_bytes)
    except TimeoutError:
        message = f"the body did not arrive within {READ_SECONDS:.0f} seconds"
        raise Problem(408, message, headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise Problem(400, "the connection ended before the body did") from None
    try:
        return parse(body)
    except MalformedJson as error:
        raise Problem(400, f"the body is not valid JSON: {error}") from error


def _check_media_type(request: Request) -> None:
    kind = request.headers.get("content-type", "")
    media_type = kind.partition(";")[0].strip().lower()
    if media_type != "application/json":
        sent = f"{media_type[:100]} is not" if media_type else "there is no"
        message = f"send Content-Type: application/json; {sent} a content type to read"
        raise Problem(415, message, headers={"Accept": "application/json"})
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "send the body as it is, without Content-Encoding")


async def _read(request: Request, limit_bytes: int) -> bytes:
    declared = request.headers.get("content-length", "")
    waits_for_our_word = request.headers.get("expect", "").lower() == "100-continue"
    if declared.isdigit() and int(declared) > limit_bytes and waits_for_our_word:
        raise _too_large(limit_bytes)
    body = bytearray()
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit_bytes:
            body += chunk
        elif size > DISCARD_BYTES:
            break
    if size > limit_bytes:
        raise _too_large(limit_bytes)
    return bytes(body)


def _too_large(limit_bytes: int) -> Problem:
    message = f"the body is larger than {limit_bytes // 1024} KiB"
    return Problem(413, message, headers={"Connection": "close"})
