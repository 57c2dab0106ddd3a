"""The reference outlier API over HTTP."""

from __future__ import annotations

import asyncio
import hmac
import logging
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.outlier import problems
from services.outlier.body_limit import BodyLimit
from services.outlier.contract import (
    ExportAnswer,
    ExportRequest,
    ForgetAnswer,
    ForgetRequest,
    LearnAnswer,
    LearnBatch,
    LearnedFact,
    Problem,
    ScoreAnswer,
    ScoreBatch,
    ScoreBatchAnswer,
    ScoreRequest,
)
from services.outlier.judge import Judge
from services.outlier.metrics import Metrics
from services.outlier.model import VERSION, Thresholds
from services.outlier.store import Store, months_before

_LOG = logging.getLogger(__name__)

_PROBLEM_CONTENT = {"application/problem+json": {"schema": Problem.model_json_schema()}}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body is not JSON", "content": _PROBLEM_CONTENT},
    401: {"description": "The key is missing or wrong", "content": _PROBLEM_CONTENT},
    409: {"description": "The key was used for another request", "content": _PROBLEM_CONTENT},
    413: {"description": "The body is too large", "content": _PROBLEM_CONTENT},
    422: {"description": "A field is wrong", "content": _PROBLEM_CONTENT},
    503: {"description": "The storage does not answer", "content": _PROBLEM_CONTENT},
}

KEEP_MONTHS = 6
_FORGET_EVERY_SECONDS = 10.0
_FORGOTTEN_AT_ONCE = 20
"""Users, during whose forgetting no login is answered: milliseconds."""

_LOOK_AT_LOG_SECONDS = 0.5
"""A log that is long grows by some 25 MB meanwhile, at most."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="Same key, same body: the same answer. Without it, request_id is the key.",
    ),
]


def create_app(
    database: Path,
    thresholds: Thresholds | None = None,
    api_key: str | None = None,
    metrics: Metrics | None = None,
    keep_months: int = KEEP_MONTHS,
) -> FastAPI:
    """The application; its storage is opened when it starts and closed when it stops.

    api_key: when given, requests must carry `Authorization: Bearer <api_key>`.
    metrics: given by who also serves them elsewhere.
    keep_months: how many whole months of logins the history keeps beside the one that runs; 0: all.
    """
    metrics = metrics or Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        store = Store(database)
        app.state.store = store
        app.state.judge = Judge(store, thresholds, metrics)
        beside = [
            asyncio.create_task(_forget_old(store, metrics, keep_months)),
            asyncio.create_task(_keep_log_short(store)),
        ]
        yield
        for task in beside:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        store.close()

    app = FastAPI(
        title="Outlier-analysis API (Doorbell's reference)",
        version=VERSION,
        description="Risk of a login by Freeman et al. (2016). Yours goes behind OUTLIER_API_URL.",
        lifespan=lifespan,
    )
    app.add_middleware(BodyLimit)
    problems.install(app)
    _add_scoring(app, metrics, _require(api_key))
    _add_operation(app, metrics)
    return app


async def _forget_old(store: Store, metrics: Metrics, keep_months: int) -> None:
    """A little at a time, on the loop's thread as all that uses the storage."""
    while True:
        try:
            if keep_months:
                before = months_before(datetime.now(UTC), keep_months)
                with store.transaction():
                    store.forget_old(before, _FORGOTTEN_AT_ONCE)
            metrics.measure(*store.size())
        except sqlite3.Error as error:
            _LOG.warning("what is old was not forgotten, and will be tried again: %s", error)
        await asyncio.sleep(_FORGET_EVERY_SECONDS)


async def _keep_log_short(store: Store) -> None:
    """What waits for the disk longest is done by another thread: else no login is answered for a tenth of a second."""
    while True:
        await asyncio.sleep(_LOOK_AT_LOG_SECONDS)
        if store.is_log_long:
            try:
                await asyncio.to_thread(store.write_back_beside)
                store.write_back_rest()
            except sqlite3.Error as error:
                _LOG.warning("the log was not written back, and will be tried again: %s", error)


def _add_scoring(app: FastAPI, metrics: Metrics, authorized: Any) -> None:
    """Coroutines on purpose: the storage is used from the loop's thread alone, under 1 ms each."""

    @app.post("/v1/score", responses=_PROBLEMS, dependencies=[authorized])
    async def score(
        request: Request, body: ScoreRequest, idempotency_key: IdempotencyKey = None
    ) -> ScoreAnswer:
        """Judge one login, and learn it unless the answer is `deny`."""
        with metrics.timed():
            judge: Judge = request.app.state.judge
            return judge.answer(body, idempotency_key)

    @app.post("/v1/users:forget", responses=_PROBLEMS, dependencies=[authorized])
    async def forget(request: Request, body: ForgetRequest) -> ForgetAnswer:
        """Forget a user: what was learned of all others stays, less this one's logins."""
        with metrics.timed():
            store: Store = request.app.state.store
            with store.transaction():
                return ForgetAnswer(logins=store.forget(body.tenant_id, body.user_id))

    @app.post("/v1/users:export", responses=_PROBLEMS, dependencies=[authorized])
    async def export(request: Request, body: ExportRequest) -> ExportAnswer:
        """Say what was learned of a user."""
        with metrics.timed():
            store: Store = request.app.state.store
            facts = store.learned_of(body.tenant_id, body.user_id)
            return ExportAnswer(
                logins=store.totals(body.tenant_id, body.user_id).user_logins,
                facts=tuple(
                    LearnedFact(month=month, level=level, value=value, logins=logins)
                    for month, level, value, logins in facts
                ),
            )

    @app.post("/v1/score:batch", responses=_PROBLEMS, dependencies=[authorized])
    async def score_batch(request: Request, body: ScoreBatch) -> ScoreBatchAnswer:
        """Judge several logins in order, all or none; each one's key is its request_id."""
        with metrics.timed():
            judge: Judge = request.app.state.judge
            return ScoreBatchAnswer(answers=tuple(judge.answer_batch(body.requests)))

    @app.post("/v1/learn:batch", responses=_PROBLEMS, dependencies=[authorized])
    async def learn_batch(request: Request, body: LearnBatch) -> LearnAnswer:
        """Learn logins of before in order, all or none, unless one would be answered with `deny`."""
        with metrics.timed():
            judge: Judge = request.app.state.judge
            return LearnAnswer(learned=judge.learn(body.requests))


def _add_operation(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/healthz")
    async def healthz(request: Request) -> dict[str, str]:
        """Whether the process and its storage answer."""
        store: Store = request.app.state.store
        store.ping()
        return {"state": "ok", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}

    @app.get("/metrics", include_in_schema=False)
    async def expose() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _require(api_key: str | None) -> Any:
    async def check(authorization: Annotated[str | None, Header()] = None) -> None:
        expected = f"Bearer {api_key}"
        if api_key is None or hmac.compare_digest(
            (authorization or "").encode(), expected.encode()
        ):
            return
        raise HTTPException(
            401,
            "the Authorization header must be 'Bearer ' and this API's key",
            headers={"WWW-Authenticate": "Bearer"},
        )

    return Depends(check)
