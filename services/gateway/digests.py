"""Digests of a day's sign-ins that applications ask for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BeforeValidator

from services.domain.errors import Refused
from services.gateway.answers import DigestBegun
from services.gateway.parameters import UserInPath, checked_user, invalid_parameter
from services.gateway.parts import Connection, Parts, parts_of
from services.gateway.problems import Problem
from services.gateway.specification import problem_responses
from services.gateway.tenants import Tenant
from services.ledger.message import Message
from services.user_digests import DayNotOver, begin_of_day

router = APIRouter(prefix="/v1", tags=["users"])


def _written_as_date(value: object) -> object:
    # Numbers would be taken for seconds since 1970.
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        raise ValueError("must be a date such as 2030-01-31")
    return value


Day = Annotated[
    date | None,
    BeforeValidator(_written_as_date),
    Query(alias="date", description="By the user's clock; without it, yesterday."),
]


@router.post(
    "/users/{user_id:path}/digest",
    status_code=202,
    summary="Tell a user of a day's sign-ins",
    responses=problem_responses(401, 404, 422, 429, 503),
)
async def send_digest(
    request: Request, tenant: Tenant, user_id: UserInPath, day: Day = None
) -> DigestBegun:
    """A workflow sums up each device and sends one mail, before the hour that the policy has for it.

    Nobody is told of a day twice: of one that was, or is being, told of its workflow is answered.
    """
    user = checked_user(user_id)
    parts = parts_of(request)
    workflow_id = await parts.begin(lambda connection: _begin(connection, parts, tenant, user, day))
    return DigestBegun(workflow_id=workflow_id, state="accepted")


def _begin(
    connection: Connection, parts: Parts, tenant: str, user: str, day: date | None
) -> tuple[UUID, Sequence[Message]]:
    try:
        return begin_of_day(connection, tenant, user, day, parts.plans.digest)
    except DayNotOver as error:
        raise invalid_parameter("date", str(error)) from None
    except Refused as error:
        raise Problem(404, str(error)) from None
