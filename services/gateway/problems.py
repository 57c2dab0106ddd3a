"""Every refusal as an RFC 9457 problem document."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

import psycopg
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from psycopg_pool import PoolTimeout
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from services.domain.errors import Unavailable
from services.gateway.reports import FieldError
from services.gateway.strict_json import render

RETRY_AFTER_SECONDS = 2
DATABASE_ERRORS = (
    PoolTimeout,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.InternalError,
)
"""The database is away, is stopping, or cannot write: nothing that the request could help."""

_DETAILS = {
    404: "there is nothing at this address; /docs lists what there is",
    405: "this address does not take this method; the Allow header lists those that it takes",
}
_log = logging.getLogger(__name__)


class FieldProblem(BaseModel):
    field: str = Field(description="A path such as ip or logins.3.ip; empty: the whole body.")
    message: str


class ProblemDocument(BaseModel):
    """RFC 9457. `type` is always about:blank: the status says what kind of problem it is."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    errors: list[FieldProblem] | None = Field(None, description="What is wrong with which field.")


class Problem(Exception):
    """Ends a request with a problem document."""

    def __init__(
        self,
        status: int,
        detail: str | None = None,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail or HTTPStatus(status).phrase)
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        value: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
        }
        if self.detail:
            value["detail"] = self.detail
        if self.errors:
            value["errors"] = [asdict(error) for error in self.errors]
        return value

    def response(self) -> Response:
        media_type = "application/problem+json"
        return Response(render(self.document()), self.status, self.headers, media_type=media_type)


class Overloaded(Problem):
    """So much waits already that nothing more is taken: load is shed with 503."""

    def __init__(self, detail: str) -> None:
        super().__init__(503, detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def unavailable(detail: str) -> Problem:
    """503: the same request can succeed a little later."""
    return Problem(503, detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def as_problem(error: BaseException) -> Problem:
    """What a caller is told of an error; one that nobody expected is logged and tells nothing."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, Unavailable):
        return unavailable(str(error))
    if isinstance(error, DATABASE_ERRORS):
        _log.warning("the database does not answer: %s", error)
        return unavailable("the database does not answer; send the same request again")
    _log.error("unexpected error", exc_info=error)
    return Problem(500, "an error of ours, and logged; the same request may be sent again")


def install(app: FastAPI) -> None:
    """Make `app` answer every error with a problem document."""
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid_parameter)
    for kind in (Problem, Unavailable, *DATABASE_ERRORS, Exception):
        app.add_exception_handler(kind, _expected_error)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = _DETAILS.get(error.status_code, str(error.detail))
    return Problem(error.status_code, detail, headers=error.headers).response()


async def _invalid_parameter(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        FieldError(".".join(map(str, found["loc"][1:])), found["msg"].removeprefix("Value error, "))
        for found in error.errors()
    ]
    return Problem(422, "a parameter is not valid", errors).response()


async def _expected_error(_: Request, error: Exception) -> Response:
    return as_problem(error).response()
