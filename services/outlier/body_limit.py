"""Refuses request bodies that are too large, before they fill the memory."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.outlier.problems import problem

LIMIT_BYTES = 1_048_576
"""A full batch of the longest requests is about 400 kB."""


class BodyTooLarge(Exception):
    """The body is longer than the limit."""


class BodyLimit:
    """Answers 413 for a body above LIMIT_BYTES, whether its length was announced or not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > LIMIT_BYTES:
                raise BodyTooLarge
            return message

        try:
            await self._app(scope, counted, send)
        except BodyTooLarge:
            detail = f"the body is longer than {LIMIT_BYTES} bytes: send smaller batches"
            await problem(413, detail, headers={"Connection": "close"})(scope, receive, send)
