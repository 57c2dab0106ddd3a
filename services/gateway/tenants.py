"""The tenant of a request, as FastAPI's dependency."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from services.gateway.authentication import digest_of_key, unauthorized
from services.gateway.parts import parts_of

_documented = HTTPBearer(
    auto_error=False,
    scheme_name="API key",
    description="A key speaks for one tenant, which sees only its own; `doorbell key create`.",
)


async def tenant_of(request: Request, _: Annotated[object, Security(_documented)]) -> str:
    """The tenant whose key the request carries; 401 otherwise."""
    parts = parts_of(request)
    digest = digest_of_key(request)
    tenant = parts.keys.cached(digest)
    if tenant is None:
        tenant = await parts.read(lambda connection: parts.keys.look_up(connection, digest))
    if tenant is None:
        raise unauthorized("there is no such API key, or it was revoked")
    return tenant


Tenant = Annotated[str, Depends(tenant_of)]
