"""What a user is given of all that is kept about them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from services.gateway.answers import ExportBegun
from services.gateway.parameters import UserInPath, checked_user
from services.gateway.parts import Connection, Parts, parts_of
from services.gateway.problems import Problem
from services.gateway.reads import archive_of
from services.gateway.specification import problem_responses
from services.gateway.tenants import Tenant
from services.ledger.message import Message
from services.user_exports import begin_export

router = APIRouter(prefix="/v1", tags=["users"])


@router.post(
    "/users/{user_id:path}/export",
    status_code=202,
    summary="Collect what is kept about a user",
    responses=problem_responses(401, 404, 422, 429, 503),
)
async def export_user(request: Request, tenant: Tenant, user_id: UserInPath) -> ExportBegun:
    """A workflow asks every store and packs one archive, which is kept for a day.

    While one is under way for the user, that one is answered: asking again is safe.
    """
    user = checked_user(user_id)
    parts = parts_of(request)
    workflow_id = await parts.begin(lambda connection: _begin(connection, parts, tenant, user))
    return ExportBegun(workflow_id=workflow_id, state="accepted")


@router.get(
    "/exports/{workflow_id}",
    summary="The archive of an export",
    response_class=Response,
    responses=problem_responses(401, 404, 422, 429, 503)
    | {200: {"description": "A ZIP file.", "content": {"application/zip": {}}}},
)
async def read_archive(request: Request, tenant: Tenant, workflow_id: UUID) -> Response:
    """A ZIP: `export.json` says what is in it, and each table is a file with one JSON row a line."""
    archive = await parts_of(request).read(lambda it: archive_of(it, tenant, workflow_id))
    if archive is None:
        raise Problem(
            404,
            "there is no archive of this id: either its workflow is not done, which"
            f" /v1/workflows/{workflow_id} says, or it is older than a day",
        )
    disposition = f'attachment; filename="export-{workflow_id}.zip"'
    return Response(
        archive, media_type="application/zip", headers={"Content-Disposition": disposition}
    )


def _begin(
    connection: Connection, parts: Parts, tenant: str, user: str
) -> tuple[UUID, Sequence[Message]]:
    pseudonym = parts.key_chain.of(connection, [tenant])[tenant].pseudonym(user)
    begun = begin_export(connection, tenant, user, pseudonym, parts.plans.export)
    if begun is None:
        raise Problem(404, "nothing is kept about this user")
    return begun
