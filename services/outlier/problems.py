"""Turns every refusal of the outlier API into an RFC 9457 problem document."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from services.outlier.contract import Problem
from services.outlier.judge import KeyReused

_RETRY_AFTER_SECONDS = 1


def problem(
    status: int,
    detail: str,
    errors: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    document = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail, errors=errors or []
    )
    return JSONResponse(
        document.model_dump(),
        status_code=status,
        headers=dict(headers or {}),
        media_type="application/problem+json",
    )


def install(app: FastAPI) -> None:
    """Let `app` answer each kind of error as a problem document."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return _invalid(error)

    @app.exception_handler(KeyReused)
    async def reused(request: Request, error: KeyReused) -> JSONResponse:
        return problem(409, str(error))

    @app.exception_handler(sqlite3.Error)
    async def unavailable(request: Request, error: sqlite3.Error) -> JSONResponse:
        headers = {"Retry-After": str(_RETRY_AFTER_SECONDS)}
        return problem(503, f"the storage does not answer: {error}", headers=headers)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail), headers=error.headers)


def _invalid(error: RequestValidationError) -> JSONResponse:
    errors = [
        {"pointer": _pointer(each["loc"]), "detail": each["msg"].removeprefix("Value error, ")}
        for each in error.errors()
    ]
    if any(each["type"] == "json_invalid" for each in error.errors()):
        return problem(400, "the body is not JSON", errors)
    count = "1 field is" if len(errors) == 1 else f"{len(errors)} fields are"
    first = f"{errors[0]['pointer']}: {errors[0]['detail']}"
    return problem(422, f"{count} wrong: {first}", errors)


def _pointer(location: tuple[int | str, ...]) -> str:
    """A JSON pointer into the body; a header is named as it is."""
    where, *path = location
    if where == "header":
        return str(path[0])
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)
