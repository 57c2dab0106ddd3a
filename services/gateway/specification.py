"""The OpenAPI document: what the routes cannot say by themselves."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from services.gateway.lockdowns import LockdownReport
from services.gateway.portions import ImportKey, ImportPortion
from services.gateway.problems import RETRY_AFTER_SECONDS, ProblemDocument
from services.gateway.reports import MAX_BATCH, LoginReport

DESCRIPTION = """\
An application reports each successful sign-in here, and reads what became of it.

Every error is a problem document (RFC 9457) that names the field in `errors`. After a 429, a 503 or
a lost answer, send the same request again: the key under which a login counts once is its
`event_id`, or the header `Idempotency-Key` when that is sent.
"""
_WHEN = {
    400: "The body is not JSON, or the request makes no sense.",
    401: "There is no API key in the request, or it is wrong or revoked.",
    403: "Not for you.",
    404: "There is nothing here, or it is another tenant's.",
    408: "The body came too slowly.",
    409: "The key was sent before with another body; or the import is elsewhere than this goes on.",
    410: "The login was accepted long ago, and retention has removed its workflow.",
    413: "The body is too large: above 64 KiB for a login, 4 MiB for a batch.",
    415: "The content type is not application/json.",
    422: "Fields are missing, unknown or not valid.",
    429: "The tenant has used up its requests for the moment; Retry-After says when it has some again.",
    503: "Not at the moment; the same request can succeed a little later.",
}
_EXAMPLE_ERRORS = [{"field": "ip", "message": "is not an IPv4 or IPv6 address"}]


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problem responses of a route, for its `responses`."""
    return {status: _problem_response(status) for status in statuses}


def body_of(schema: str) -> dict[str, Any]:
    """A required JSON body; the route reads it itself, to be strict about it."""
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}
    }


def header(name: str, description: str) -> dict[str, Any]:
    """An optional request header."""
    schema = {"type": "string", "minLength": 1, "maxLength": 200}
    return {"name": name, "in": "header", "description": description, "schema": schema}


def install(app: FastAPI) -> None:
    """Make `app` describe itself in full."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app)
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]  # FastAPI's own way to extend it


def _describe(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = document["components"]["schemas"]
    login = LoginReport.model_json_schema()
    # An example that is refused for its time, when somebody tries it out, would be a poor one.
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    schemas["Login"] = login | {"example": login["example"] | {"occurred_at": now}}
    schemas["LoginBatch"] = {
        "type": "object",
        "title": "LoginBatch",
        "description": "Up to 1,000 logins, each with its event_id.",
        "additionalProperties": False,
        "required": ["logins"],
        "properties": {
            "logins": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_BATCH,
                "items": {"$ref": "#/components/schemas/Login"},
            }
        },
        "example": {"logins": [schemas["Login"]["example"]]},
    }
    schemas["Lockdown"] = LockdownReport.model_json_schema()
    _add_imports(schemas)
    problem = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"), ProblemDocument=problem)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document


def _add_imports(schemas: dict[str, Any]) -> None:
    login = schemas["Login"]["example"] | {"occurred_at": "2030-01-31T08:15:00Z"}
    schemas["ImportKey"] = ImportKey.model_json_schema()
    portion = ImportPortion.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(portion.pop("$defs"), ImportPortion=portion)
    schemas["Numbered"]["properties"]["login"] = {"$ref": "#/components/schemas/Login"}
    numbered = {"line": 1, "login": login}
    portion["example"] = {"after": 0, "line": 1, "logins": [numbered]}


def _problem_response(status: int) -> dict[str, Any]:
    example: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": _WHEN[status],
    }
    if status == 422:
        example["errors"] = _EXAMPLE_ERRORS
    response: dict[str, Any] = {
        "description": _WHEN[status],
        "content": {
            "application/problem+json": {
                "schema": {"$ref": "#/components/schemas/ProblemDocument"},
                "example": example,
            }
        },
    }
    if status == 503:
        response["headers"] = {
            "Retry-After": {
                "description": "Seconds to wait.",
                "schema": {"type": "integer", "example": RETRY_AFTER_SECONDS},
            }
        }
    return response
