"""Reads of what is known about a user: devices and switches."""

from __future__ import annotations

from fastapi import APIRouter, Request

from services.gateway.answers import DeviceList, SwitchList
from services.gateway.parameters import UserInPath, checked_user
from services.gateway.parts import parts_of
from services.gateway.reads import devices_of_user, switches_of_user
from services.gateway.specification import problem_responses
from services.gateway.tenants import Tenant, UnlimitedTenant

router = APIRouter(prefix="/v1/users", tags=["users"])


@router.get(
    "/{user_id:path}/devices",
    summary="The devices a user signed in from",
    responses=problem_responses(401, 422, 429, 503),
)
async def list_devices(request: Request, tenant: Tenant, user_id: UserInPath) -> DeviceList:
    """The last seen first."""
    user = checked_user(user_id)
    return await parts_of(request).read(lambda it: devices_of_user(it, tenant, user))


@router.get(
    "/{user_id:path}/switches",
    summary="The switches that the application obeys",
    responses=problem_responses(401, 422, 503),
)
async def list_switches(
    request: Request, tenant: UnlimitedTenant, user_id: UserInPath
) -> SwitchList:
    """Whether to ask for a second factor, and whether to let the user in at all.

    Not counted towards a tenant's limit: who is locked stays out, whatever else is asked for.
    """
    user = checked_user(user_id)
    return await parts_of(request).read(lambda it: switches_of_user(it, tenant, user))
