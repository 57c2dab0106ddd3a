"""The tenant of the local cluster, and its API key."""

from __future__ import annotations

import hashlib
from pathlib import Path

import psycopg

from deploy.local.passwords import read_or_make
from services.queries import load_queries

TENANT = "demo"


def ensure(database_url: str, key_file: Path) -> str:
    """Make the tenant and its key when they are not there yet, and return the key."""
    key = read_or_make(key_file)
    queries = load_queries("deploy.local", "tenant.sql")
    with psycopg.connect(database_url) as connection:
        connection.execute(queries["ensure_tenant"].encode(), {"tenant": TENANT, "name": "Demo"})
        connection.execute(
            queries["ensure_key"].encode(),
            {"tenant": TENANT, "digest": hashlib.sha256(key.encode()).digest()},
        )
    return key
