"""The tenant of a request, as FastAPI's dependency."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from services.gateway.authentication import digest_of_key, unauthorized
from services.gateway.parts import parts_of
from services.gateway.problems import Problem
from services.gateway.rates import Caller

_documented = HTTPBearer(
    auto_error=False,
    scheme_name="API key",
    description="A key speaks for one tenant, which sees only its own; `doorbell key create`.",
)


async def known_caller(request: Request, _: Annotated[object, Security(_documented)]) -> Caller:
    """Whose key the request carries; 401 without one."""
    parts = parts_of(request)
    digest = digest_of_key(request)
    caller = parts.keys.cached(digest)
    if caller is None:
        caller = await parts.read(lambda connection: parts.keys.look_up(connection, digest))
    if caller is None:
        raise unauthorized("there is no such API key, or it was revoked")
    return caller


async def caller_of(request: Request, caller: Annotated[Caller, Depends(known_caller)]) -> Caller:
    """Who calls; 429 when its tenant asks for too much."""
    if wait := parts_of(request).rates.take(caller):
        detail = (
            "your tenant has used up its requests for the moment (each login of a batch is one)"
        )
        raise Problem(429, detail, headers={"Retry-After": str(math.ceil(wait))})
    return caller


async def unlimited_tenant_of(caller: Annotated[Caller, Depends(known_caller)]) -> str:
    """The caller's tenant, however much it asks for."""
    return caller.tenant


async def tenant_of(caller: Annotated[Caller, Depends(caller_of)]) -> str:
    """The caller's tenant."""
    return caller.tenant


FromCaller = Annotated[Caller, Depends(caller_of)]
Tenant = Annotated[str, Depends(tenant_of)]
UnlimitedTenant = Annotated[str, Depends(unlimited_tenant_of)]
