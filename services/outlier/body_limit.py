"""Refuses request bodies that are too large, before they fill the memory."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LIMIT_BYTES = 1_048_576
"""A full batch of ordinary requests is about 50 kB."""


class BodyLimit:
    """Ends reading a body above LIMIT_BYTES with 413, whether its length was announced or not.

    It raises what FastAPI lets through while it reads a body; any other exception
    would come out as 400.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > LIMIT_BYTES:
                detail = f"the body is longer than {LIMIT_BYTES} bytes: send smaller batches"
                raise HTTPException(413, detail, headers={"Connection": "close"})
            return message

        await self._app(scope, counted, send)
