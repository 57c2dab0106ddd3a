"""What supervisors and Prometheus ask."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.gateway.answers import Health, Readiness
from services.gateway.parts import parts_of
from services.gateway.problems import Problem, unavailable
from services.gateway.specification import problem_responses

router = APIRouter(tags=["health"])
_LOOPBACK = ("127.0.0.1", "::1")
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


@router.get("/healthz", summary="Whether the process is alive")
async def healthz() -> Health:
    return Health(status="alive")


@router.get("/readyz", summary="Whether logins can be accepted", responses=problem_responses(503))
async def readyz(request: Request) -> Readiness:
    """Asks the database, and tells whether the broker confirmed what it was sent last."""
    parts = parts_of(request)
    if await parts.read(parts.is_read_only):
        raise unavailable("the database is read-only")
    if parts.backlog.is_standby_missing:
        raise unavailable("commits wait for a standby of the database that is not connected")
    if awaited := parts.backlog.awaited:
        raise unavailable(f"too many accepted logins wait for {awaited}")
    return Readiness(
        status="ready",
        database="reachable",
        broker=parts.outbox.broker,
        outbox_messages=parts.backlog.messages,
    )


@router.get(
    "/metrics",
    summary="Metrics for Prometheus, to this host alone",
    response_class=Response,
    responses=problem_responses(403)
    | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """Other hosts scrape the port set by DOORBELL_METRICS_PORT, which is not for the world."""
    host = request.client.host if request.client else None
    is_forwarded = any(name in request.headers for name in _FORWARDED)
    # A proxy on this host comes from loopback too, and carries the world's requests.
    if host not in _LOOPBACK or is_forwarded:
        raise Problem(403, "metrics are given to this host alone; elsewhere use the metrics port")
    text = generate_latest(parts_of(request).metrics.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
