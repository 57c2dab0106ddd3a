"""The gateway's HTTP application."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway import (
    digests,
    erasures,
    exports,
    health,
    imports,
    incidents,
    logins,
    notice_pages,
    problems,
    specification,
    users,
    workflows,
)
from services.gateway.metrics import Metrics
from services.gateway.outbox import PublishesMessages
from services.gateway.parts import Parts
from services.gateway.plans import Plans
from services.observability.spans import Spans


def make_app(
    database_url: str,
    plans: Plans,
    new_publisher: Callable[[], PublishesMessages],
    spans: Spans | None = None,
) -> FastAPI:
    """The application; it connects to nothing before it is started.

    new_publisher: makes a publisher for one thread.
    spans: who is told of accepted logins.
    """
    parts = Parts(database_url, plans, new_publisher, spans)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        parts.start()
        try:
            yield
        finally:
            parts.stop()

    app = FastAPIOffline(
        title="Doorbell",
        version="1",
        description=specification.DESCRIPTION,
        redoc_url=None,
        static_url="/docs/static",
        lifespan=lifespan,
        # A redirect would answer /v1/logins/ with 307, which clients turn into a lost login.
        redirect_slashes=False,
    )
    app.state.parts = parts
    for module in (
        logins,
        workflows,
        users,
        exports,
        erasures,
        incidents,
        digests,
        imports,
        health,
        notice_pages,
    ):
        app.include_router(module.router)
    problems.install(app)
    specification.install(app)
    app.add_middleware(_Observed, metrics=parts.metrics)
    return app


class _Observed:
    """Measures each answer, and marks it as not to be kept by caches."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        is_private = scope["path"].startswith("/v1/")

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if is_private:
                    message["headers"] = [*message["headers"], (b"cache-control", b"no-store")]
            await send(message)

        begun_at = time.perf_counter()
        try:
            await self._app(scope, receive, watched)
        finally:
            seconds = time.perf_counter() - begun_at
            self._metrics.request_seconds.labels(f"{status // 100}xx").observe(seconds)
