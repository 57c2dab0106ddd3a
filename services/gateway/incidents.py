"""A switch that an application has turned on for many of its users at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from services import incidents
from services.gateway.bodies import BATCH_BYTES, read_json
from services.gateway.incident_answers import ExpectedAnswer, IncidentAnswer
from services.gateway.lockdowns import actor_of, as_field_error, as_lockdown, read_lockdown
from services.gateway.parts import Connection, Parts, parts_of
from services.gateway.problems import Problem
from services.gateway.specification import body_of, problem_responses
from services.gateway.tenants import Tenant
from services.incidents import Lockdown
from services.ledger.message import Message

router = APIRouter(prefix="/v1/incidents", tags=["incidents"])


@router.post(
    "",
    status_code=202,
    response_model=IncidentAnswer,
    summary="Turn a switch on for many users",
    responses=problem_responses(400, 401, 408, 413, 415, 422, 429, 503)
    | {200: {"model": ExpectedAnswer, "description": "The answer to a dry run."}},
    openapi_extra=body_of("Lockdown"),
)
async def begin_incident(request: Request, tenant: Tenant) -> Response:
    """A workflow does it, portion by portion; then those whose switch was turned on are told.

    Whose switch is on already is left out, and not told: when an answer gets lost, the
    same request can be sent again. Those whom the tenant's policy never locks are left out too.
    """
    parts = parts_of(request)
    report, errors = read_lockdown(await read_json(request, BATCH_BYTES))
    if report is None:
        raise Problem(422, "the lockdown is not valid", errors)
    lockdown = as_lockdown(report, tenant)
    try:
        incidents.check_queue(lockdown, parts.plans.notice_queues)
        if report.dry_run:
            expected = await parts.read(lambda it: incidents.expect(it, lockdown).to_document())
            answer = ExpectedAnswer(dry_run=True, **expected)
            return Response(answer.model_dump_json(), 200, media_type="application/json")
        begun = await parts.begin(lambda it: _begin(it, parts, lockdown))
    except incidents.Unfit as error:
        raise Problem(422, "the lockdown is not valid", [as_field_error(error)]) from None
    headers = {"Location": f"/v1/incidents/{begun.incident_id}"}
    return Response(begun.model_dump_json(), 202, headers, media_type="application/json")


@router.get(
    "/{incident_id}",
    summary="How far an incident is",
    responses=problem_responses(401, 404, 422, 429, 503),
)
async def read_incident(request: Request, tenant: Tenant, incident_id: UUID) -> IncidentAnswer:
    """Its state, and what became of how many users."""
    return await parts_of(request).read(lambda it: _found(it, incident_id, tenant))


@router.post(
    "/{incident_id}/stop",
    summary="Stop an incident",
    responses=problem_responses(401, 404, 422, 429, 503),
)
async def stop_incident(request: Request, tenant: Tenant, incident_id: UUID) -> IncidentAnswer:
    """Within two seconds nobody's switch is turned on any more, and nobody is told; what was done stays."""
    parts = parts_of(request)
    await _stop(parts, tenant, incident_id, is_undo=False)
    await parts.read(lambda it: incidents.shut(it, incident_id))
    return await parts.read(lambda it: _found(it, incident_id, tenant))


@router.post(
    "/{incident_id}/undo",
    status_code=202,
    summary="Take an incident back",
    responses=problem_responses(401, 404, 422, 429, 503),
)
async def undo_incident(request: Request, tenant: Tenant, incident_id: UUID) -> IncidentAnswer:
    """Stop it, then turn those switches off that it turned on; not those that somebody has changed since.

    It can be asked for again: what was taken back stays so.
    """
    parts = parts_of(request)
    await _stop(parts, tenant, incident_id, is_undo=True)

    def undo(connection: Connection) -> tuple[None, Sequence[Message]]:
        actor, plan = actor_of(tenant), parts.plans.undo
        return None, incidents.begin_undo(connection, incident_id, actor, plan)

    await parts.begin(undo)
    return await parts.read(lambda it: _found(it, incident_id, tenant))


async def _stop(parts: Parts, tenant: str, incident_id: UUID, *, is_undo: bool) -> None:
    actor = actor_of(tenant)
    if not await parts.read(
        lambda it: incidents.stop(it, incident_id, tenant, actor, is_undo=is_undo)
    ):
        raise _absent()


def _begin(
    connection: Connection, parts: Parts, lockdown: Lockdown
) -> tuple[IncidentAnswer, Sequence[Message]]:
    expected = incidents.expect(connection, lockdown)
    plan = parts.plans.lockdown(lockdown.notices_onto)
    incident_id, messages = incidents.begin(connection, lockdown, expected, plan)
    # The gateway may not publish what is to wait at the broker: that is the relay's.
    at_once = [message for message in messages if not message.delay_seconds]
    return _found(connection, incident_id, lockdown.tenant), at_once


def _found(connection: Connection, incident_id: UUID, tenant: str) -> IncidentAnswer:
    found = incidents.find(connection, incident_id, tenant)
    if found is None:
        raise _absent()
    return IncidentAnswer(**_shown(found))


def _shown(found: dict[str, Any]) -> dict[str, Any]:
    return {**found, "users_per_second": found["per_second"]}


def _absent() -> Problem:
    return Problem(404, "you have no incident of this id")
