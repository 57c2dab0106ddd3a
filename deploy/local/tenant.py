"""The tenant of the local cluster, and its API key."""

from __future__ import annotations

from pathlib import Path

from deploy.local.passwords import read_or_make
from services.cli.database import connected, fetch
from services.cli.tenants import create_key, create_tenant

TENANT = "demo"


def ensure(database_url: str, key_file: Path) -> str:
    """Make the tenant and its key when they are not there yet, and return the key."""
    key = read_or_make(key_file)
    with connected(database_url) as connection:
        if not fetch(connection, "find_tenant", tenant=TENANT):
            create_tenant(connection, TENANT, "Demo")
        return create_key(connection, TENANT, key)
