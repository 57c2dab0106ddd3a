"""Reads of workflows."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request

from services.gateway.answers import Workflow, WorkflowPage
from services.gateway.parameters import UserInQuery, checked_user, invalid_parameter
from services.gateway.parts import parts_of
from services.gateway.problems import Problem
from services.gateway.reads import Cursor, find_workflow, page_of_workflows
from services.gateway.specification import problem_responses
from services.gateway.tenants import Tenant

router = APIRouter(prefix="/v1/workflows", tags=["workflows"])


@router.get(
    "/{workflow_id}",
    summary="How far a workflow is",
    responses=problem_responses(401, 404, 422, 429, 503),
)
async def read_workflow(request: Request, tenant: Tenant, workflow_id: UUID) -> Workflow:
    """Its state, its planned and actual steps, and the verdict once there is one. A step's id finds its workflow."""
    found = await parts_of(request).read(
        lambda connection: find_workflow(connection, tenant, workflow_id)
    )
    if found is None:
        raise Problem(404, "you have no workflow of this id")
    return found


@router.get("", summary="A user's workflows", responses=problem_responses(401, 422, 429, 503))
async def list_workflows(
    request: Request,
    tenant: Tenant,
    user_id: UserInQuery,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> WorkflowPage:
    """The youngest first, in pages; what is accepted meanwhile does not shift them."""
    user = checked_user(user_id)
    after = _read_cursor(cursor)
    return await parts_of(request).read(
        lambda connection: page_of_workflows(connection, tenant, user, limit, after)
    )


def _read_cursor(text: str | None) -> Cursor | None:
    try:
        return Cursor.decode(text) if text is not None else None
    except ValueError:
        message = "is not a next_cursor that this gateway has answered"
        raise invalid_parameter("cursor", message) from None
