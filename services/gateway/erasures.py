"""Erasures of users for applications."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from fastapi import APIRouter, Request

from services.gateway.authentication import digest_of_key
from services.gateway.erasure_answers import Erasure, ErasureBegun
from services.gateway.parameters import UserInPath, checked_user
from services.gateway.parts import Connection, Parts, parts_of
from services.gateway.problems import Problem
from services.gateway.reads import find_erasure
from services.gateway.specification import problem_responses
from services.gateway.tenants import Tenant
from services.ledger.message import Message
from services.user_erasures import begin_erasure

router = APIRouter(prefix="/v1", tags=["users"])


@router.post(
    "/users/{user_id:path}/erase",
    status_code=202,
    summary="Erase what is kept about a user",
    responses=problem_responses(401, 404, 422, 429, 503),
)
async def erase_user(request: Request, tenant: Tenant, user_id: UserInPath) -> ErasureBegun:
    """A workflow deletes it in every place, looks again, and certifies that nothing is left. It cannot be taken back.

    While one is under way for the user, that one is answered: asking again is safe. A user who was erased
    before may be erased again, and there is another certificate then.
    """
    user = checked_user(user_id)
    parts = parts_of(request)
    # As `doorbell key list` names it.
    key = f"API key {digest_of_key(request).hex()[:12]}"
    erasure_id = await parts.begin(lambda connection: _begin(connection, parts, tenant, user, key))
    return ErasureBegun(erasure_id=erasure_id, workflow_id=erasure_id, state="accepted")


@router.get(
    "/erasures/{erasure_id}",
    summary="How far an erasure is, and its certificate",
    responses=problem_responses(401, 404, 422, 429, 503),
)
async def read_erasure(request: Request, tenant: Tenant, erasure_id: UUID) -> Erasure:
    """The certificate names no user: keep the erasure's id with the request that you had."""
    found = await parts_of(request).read(lambda it: find_erasure(it, tenant, erasure_id))
    if found is None:
        raise Problem(404, "you have no erasure of this id")
    return found


def _begin(
    connection: Connection, parts: Parts, tenant: str, user: str, asked_by: str
) -> tuple[UUID, Sequence[Message]]:
    pseudonym = parts.key_chain.of(connection, [tenant])[tenant].pseudonym(user)
    begun = begin_erasure(connection, tenant, user, pseudonym, asked_by, parts.plans.erasure)
    if begun is None:
        raise Problem(404, "nothing is kept about this user")
    return begun
