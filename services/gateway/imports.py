"""Imports of logins from before Doorbell watched."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, ValidationError

from services.gateway.answers import Import, Portioned, RefusedLine
from services.gateway.bodies import BATCH_BYTES, LOGIN_BYTES, read_json
from services.gateway.parts import Connection, Parts, parts_of
from services.gateway.portions import ImportKey, ImportPortion, Numbered
from services.gateway.problems import Problem
from services.gateway.reports import (
    MAX_KEY_LENGTH,
    FieldError,
    canonical_body,
    field_errors,
    read_report,
)
from services.gateway.specification import body_of, problem_responses
from services.gateway.staging import (
    Elsewhere,
    Portion,
    Staged,
    TooManyToPlan,
    begin_import,
    find_import,
    open_import,
    stage,
)
from services.gateway.tenants import FromCaller, Tenant
from services.ledger.message import Message

router = APIRouter(prefix="/v1/imports", tags=["imports"])

_Body = TypeVar("_Body", bound=BaseModel)

_READ_AT_ONCE = 100
"""Logins, during whose reading no other request is answered: a few milliseconds."""


@router.post(
    "",
    summary="Open an import of logins",
    responses=problem_responses(400, 401, 408, 413, 415, 422, 429, 503),
    openapi_extra=body_of("ImportKey"),
)
async def open_(request: Request, tenant: Tenant) -> Import:
    """Or find it again by its key. What is put into it waits until it begins; a day later it is cleared away."""
    key = _valid(ImportKey, await read_json(request, LOGIN_BYTES)).key
    return await parts_of(request).read(lambda it: open_import(it, tenant, key))


@router.post(
    "/{import_id}/logins",
    summary="Put logins into an import",
    responses=problem_responses(400, 401, 404, 408, 409, 413, 415, 422, 429, 503),
    openapi_extra=body_of("ImportPortion"),
)
async def add(request: Request, caller: FromCaller, import_id: UUID) -> Portioned:
    """Up to 1,000, in any order of their times. A bad one is named and stops no other; sent again, nothing changes."""
    parts = parts_of(request)
    given = _valid(ImportPortion, await read_json(request, BATCH_BYTES))
    if wrong := _wrong_number(given):
        raise Problem(422, "the request is not valid", [wrong])
    parts.rates.charge(caller, max(0, len(given.logins) - 1))
    async with parts.portions:
        portion, refused = await _read(given, parts.clock.now())
    await parts.read(lambda it: _stage(it, parts, caller.tenant, import_id, portion))
    return Portioned(line=portion.line, refused=refused)


@router.post(
    "/{import_id}/begin",
    status_code=202,
    summary="Begin an import",
    responses=problem_responses(401, 404, 422, 429, 503),
)
async def begin(request: Request, tenant: Tenant, import_id: UUID) -> Import:
    """A workflow of its id applies its logins, each user's in the order of their times. Asking again is safe."""
    parts = parts_of(request)
    return await parts.begin(lambda it: _begin(it, parts, tenant, import_id))


@router.get(
    "/{import_id}",
    summary="How far an import is",
    responses=problem_responses(401, 404, 422, 429, 503),
)
async def read(request: Request, tenant: Tenant, import_id: UUID) -> Import:
    """Kept for a week after it began; what it taught stays."""
    return await parts_of(request).read(lambda it: _found(it, tenant, import_id))


def _valid(kind: type[_Body], value: object) -> _Body:
    if not isinstance(value, dict):
        raise Problem(422, "the request is not valid", [FieldError("", "must be a JSON object")])
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        errors = field_errors(error, of="an import")
        raise Problem(422, "the request is not valid", errors) from None


def _wrong_number(given: ImportPortion) -> FieldError | None:
    """The first line's number that does not rise: two logins of one line could not be told apart."""
    if given.line <= given.after:
        return FieldError("line", "must be greater than after")
    before = given.after
    for place, each in enumerate(given.logins):
        if not before < each.line <= given.line:
            message = f"must be greater than {before}, for the numbers rise, and at most {given.line}, as line says"
            return FieldError(f"logins.{place}.line", message)
        before = each.line
    return None


async def _read(given: ImportPortion, now: datetime) -> tuple[Portion, list[RefusedLine]]:
    """A few at a time: logins of now come in between."""
    logins: list[Staged] = []
    refused: list[RefusedLine] = []
    for number, each in enumerate(given.logins, start=1):
        report, errors = read_report({**each.login, "history": True}, None, now)
        if report is None:
            refused.append(_refused(each, errors))
        else:
            logins.append(Staged(each.line, canonical_body(report), report.device_cookie))
        if number % _READ_AT_ONCE == 0:
            await asyncio.sleep(0)
    bad = given.unreadable + len(refused)
    return Portion(given.after, given.line, logins, given.skipped, bad), refused


def _refused(each: Numbered, errors: Sequence[FieldError]) -> RefusedLine:
    event_id = each.login.get("event_id")
    return RefusedLine(
        line=each.line,
        event_id=event_id[:MAX_KEY_LENGTH] if isinstance(event_id, str) else None,
        reason="; ".join(f"{it.field or 'the login'}: {it.message}" for it in errors),
    )


def _stage(
    connection: Connection, parts: Parts, tenant: str, import_id: UUID, portion: Portion
) -> None:
    keys = parts.key_chain.of(connection, [tenant])[tenant]
    try:
        is_there = stage(connection, tenant, import_id, portion, keys)
    except Elsewhere as error:
        raise Problem(409, str(error)) from None
    if not is_there:
        raise _absent()


def _begin(
    connection: Connection, parts: Parts, tenant: str, import_id: UUID
) -> tuple[Import, Sequence[Message]]:
    try:
        is_there, messages = begin_import(connection, tenant, import_id, parts.plans.importing)
    except TooManyToPlan as error:
        raise Problem(422, f"split the import: {error}") from None
    if not is_there:
        raise _absent()
    return _found(connection, tenant, import_id), messages


def _found(connection: Connection, tenant: str, import_id: UUID) -> Import:
    found = find_import(connection, tenant, import_id)
    if found is None:
        raise _absent()
    return found


def _absent() -> Problem:
    return Problem(404, "you have no import of this id, or it was left for longer than it is kept")
