"""Reports of logins: one, or up to a thousand at once."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from services.domain.errors import Unavailable
from services.gateway.acceptance import Answer, Submission
from services.gateway.answers import Accepted, BatchAnswer
from services.gateway.bodies import BATCH_BYTES, LOGIN_BYTES, read_json
from services.gateway.metrics import Outcome
from services.gateway.parameters import idempotency_key
from services.gateway.parts import Parts, parts_of
from services.gateway.problems import (
    DATABASE_ERRORS,
    Overloaded,
    Problem,
    as_problem,
    unavailable,
)
from services.gateway.reports import MAX_BATCH, FieldError, as_login, body_sha256, read_report
from services.gateway.specification import body_of, header, problem_responses
from services.gateway.strict_json import render
from services.gateway.tenants import FromCaller, Tenant

COOKIE_HEADER = "Doorbell-Device-Cookie"
_COOKIE = {
    "description": "For the device to keep as long as it can, and to send as device_cookie with its logins; not there"
    " when this login had one already.",
    "schema": {"type": "string"},
}


class _Counted(APIRoute):
    """Counts requests that were refused as a whole, also those that never came to their handler."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def counted(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:
                parts_of(request).metrics.count_login(_outcome(error))
                raise

        return counted


router = APIRouter(prefix="/v1", tags=["logins"], route_class=_Counted)


@router.post(
    "/logins",
    status_code=202,
    response_model=Accepted,
    summary="Report a login",
    responses=problem_responses(400, 401, 408, 409, 410, 413, 415, 422, 429, 503)
    | {202: {"headers": {COOKIE_HEADER: _COOKIE}}},
    openapi_extra={
        **body_of("Login"),
        "parameters": [
            header(
                "Idempotency-Key",
                "Stands in for event_id as the key under which this login counts once.",
            )
        ],
    },
)
async def report_login(request: Request, tenant: Tenant) -> Response:
    """Accepted means kept: the workflow runs to its end, whatever fails on the way.

    When an answer gets lost, send the same request again: the same event_id (or
    Idempotency-Key) with the same body gives the same workflow back, and with
    another body 409.

    A device that came without a cookie of ours is given one in the header
    Doorbell-Device-Cookie: set it on the device (as long-lived as browsers allow; HttpOnly, Secure), and
    report it as `device_cookie`, so that the device is known whatever its browser says.
    """
    parts = parts_of(request)
    key = idempotency_key(request)
    value = await read_json(request, LOGIN_BYTES)
    prepared = _prepare(value, tenant, key, parts.clock.now())
    if isinstance(prepared, Problem):
        raise prepared
    _refuse_when_full(parts)
    [answer] = await parts.intake.submit([prepared])
    accepted = _accepted_or_problem(answer, "event_id" if key is None else "Idempotency-Key")
    if isinstance(accepted, Problem):
        raise accepted
    assert isinstance(answer, Answer)
    parts.metrics.count_login("accepted" if answer.outcome == "accepted" else "repeated")
    headers = {"Location": f"/v1/workflows/{answer.workflow_id}"}
    if answer.new_cookie is not None:
        headers[COOKIE_HEADER] = answer.new_cookie
    return _answer(accepted, 202, headers)


@router.post(
    "/logins:batch",
    response_model=BatchAnswer,
    summary="Report up to 1,000 logins",
    responses=problem_responses(400, 401, 408, 413, 415, 422, 429, 503)
    | {207: {"model": BatchAnswer, "description": "Not all were accepted."}},
    openapi_extra=body_of("LoginBatch"),
)
async def report_batch(request: Request, caller: FromCaller) -> Response:
    """Each login is answered by itself, in order: a bad one does not stop the others.

    200 when all were accepted, else 207. Each login needs its event_id. When
    none could be accepted because the ledger is away, the whole is 503.
    """
    parts = parts_of(request)
    if "idempotency-key" in request.headers:
        message = "a batch takes no Idempotency-Key: give each login its event_id"
        raise Problem(400, message, [FieldError("Idempotency-Key", "is not for batches")])
    logins = _read_batch(await read_json(request, BATCH_BYTES))
    _refuse_when_full(parts)
    parts.rates.charge(caller, len(logins) - 1)
    now = parts.clock.now()
    prepared = [_prepare(login, caller.tenant, None, now, is_single=False) for login in logins]
    submissions = [item for item in prepared if isinstance(item, Submission)]
    answers = iter(await parts.intake.submit(submissions) if submissions else [])
    results = [
        _result(parts, login, item if isinstance(item, Problem) else next(answers))
        for login, item in zip(logins, prepared, strict=True)
    ]
    statuses = {result["status"] for result in results}
    if statuses == {503}:
        # Answered, not raised: each of them is counted already.
        return unavailable(results[0]["problem"]["detail"]).response()
    return _answer({"results": results}, 200 if statuses <= {202} else 207)


def _answer(value: Any, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(render(value), status, headers, media_type="application/json")


def _read_batch(value: Any) -> list[Any]:
    detail = 'send {"logins": [...]}'
    if not isinstance(value, dict):
        raise Problem(422, detail, [FieldError("", "must be a JSON object")])
    unknown = [FieldError(name[:100], "is not a field of a batch") for name in value]
    errors = [error for error in unknown if error.field != "logins"][:20]
    logins = value.get("logins")
    if not isinstance(logins, list):
        errors.append(FieldError("logins", "must be a list of logins"))
    elif not 0 < len(logins) <= MAX_BATCH:
        errors.append(FieldError("logins", f"must hold 1 to {MAX_BATCH} logins, not {len(logins)}"))
    if errors or not isinstance(logins, list):
        raise Problem(422, detail, errors)
    return logins


def _prepare(
    value: Any, tenant: str, key: str | None, now: datetime, *, is_single: bool = True
) -> Submission | Problem:
    report, errors = read_report(value, key, now)
    key = key or (report.event_id if report else None)
    if report is None or key is None:
        return Problem(422, "the login is not valid", errors)
    login = as_login(report, uuid4(), tenant, key)
    return Submission(login, key, body_sha256(report), report.device_cookie, is_single)


def _refuse_when_full(parts: Parts) -> None:
    if awaited := parts.backlog.awaited:
        raise Overloaded(f"too many accepted logins wait for {awaited}; send this again later")


def _accepted_or_problem(
    answer: Answer | BaseException, key_field: str = "event_id"
) -> dict[str, Any] | Problem:
    if isinstance(answer, BaseException):
        return as_problem(answer)
    if answer.outcome == "conflict":
        message = f"this {key_field} was sent before with another body"
        return Problem(409, message, [FieldError(key_field, "is another login's")])
    if answer.outcome == "gone":
        return Problem(410, "this login was accepted before, and retention has removed it since")
    return {
        "event_id": answer.event_id,
        "workflow_id": str(answer.workflow_id),
        "state": answer.state,
    }


def _result(parts: Parts, login: Any, answer: Problem | Answer | BaseException) -> dict[str, Any]:
    found = answer if isinstance(answer, Problem) else _accepted_or_problem(answer)
    if isinstance(found, Problem):
        parts.metrics.count_login(_outcome(found))
        event_id = login.get("event_id") if isinstance(login, dict) else None
        shown = {"event_id": event_id[:200]} if isinstance(event_id, str) else {}
        return {"status": found.status, **shown, "problem": found.document()}
    is_new = isinstance(answer, Answer) and answer.outcome == "accepted"
    parts.metrics.count_login("accepted" if is_new else "repeated")
    return {"status": 202, **found}


def _outcome(error: Exception) -> Outcome:
    named: dict[int, Outcome] = {409: "conflict", 410: "conflict", 429: "limited", 500: "error"}
    if isinstance(error, Overloaded):
        return "shed"
    if isinstance(error, (Unavailable, *DATABASE_ERRORS)):
        return "unavailable"
    if isinstance(error, Problem):
        return "unavailable" if error.status == 503 else named.get(error.status, "invalid")
    return "invalid" if isinstance(error, (HTTPException, RequestValidationError)) else "error"
