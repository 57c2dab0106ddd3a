"""`doorbell tenant` and `doorbell key`: who may report logins."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Any

from services.cli import audit
from services.cli.database import Connection, fetch
from services.domain.errors import Refused

_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_KEY = re.compile(r"[\x21-\x7e]{16,200}")
# Line breaks and what turns text around: the name stands in the subject of mails.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


_NAME_DIGITS = 12
"""Of a key's digest, as `keys` shows it."""


class UnknownKey(Refused):
    """There is no key of this name."""


class UnknownTenant(Refused):
    """There is no tenant of this id."""


def create_tenant(connection: Connection, tenant: str, name: str) -> None:
    """Raises Refused when the id is taken or cannot be one, or the name is unfit for a mail's subject."""
    if not _TENANT.fullmatch(tenant):
        raise Refused(
            f"{tenant!r} cannot be a tenant's id: use 1 to 63 of a-z, 0-9, - and _,"
            " beginning with a letter or digit"
        )
    if not name.strip() or len(name) > 200:
        raise Refused("a tenant's name has 1 to 200 characters: users read it in their mails")
    if found := _UNFIT.search(name):
        sign = f"U+{ord(found[0]):04X}"
        raise Refused(
            f"a tenant's name must not contain the character {sign}: it is one line of text"
        )
    if not fetch(connection, "create_tenant", tenant=tenant, name=name.strip()):
        raise Refused(f"there is a tenant {tenant} already")
    audit.note(connection, "tenant create", tenant)


def all_tenants(connection: Connection) -> list[dict[str, Any]]:
    """`tenant`, `name` and `requests_per_second` of each, the last None where there is no limit."""
    return fetch(connection, "tenants")


def limit(connection: Connection, tenant: str, per_second: float | None) -> None:
    """Set how many requests a second a tenant may make; None: as many as it likes. Idempotent.

    Raises:
        UnknownTenant: there is no such tenant.
    """
    if not fetch(connection, "find_tenant", tenant=tenant):
        raise UnknownTenant(f"there is no tenant {tenant}: doorbell tenant list names them")
    if fetch(connection, "limit_tenant", tenant=tenant, per_second=per_second):
        limited = "none" if per_second is None else f"{per_second:g}"
        audit.note(connection, "tenant limit", f"{tenant} to {limited}")


def create_key(connection: Connection, tenant: str, key: str | None = None) -> str:
    """Give a tenant a key, a fresh random one unless given, and return it. Only its digest is kept.

    A key that the tenant has already stays as it is.

    Raises:
        UnknownTenant: there is no such tenant.
        Refused: the key is unfit, another tenant's, or revoked.
    """
    if not fetch(connection, "find_tenant", tenant=tenant):
        raise UnknownTenant(f"there is no tenant {tenant}: doorbell tenant create {tenant} NAME")
    key = secrets.token_urlsafe(32) if key is None else key
    if not _KEY.fullmatch(key):
        raise Refused("a key has 16 to 200 printable ASCII characters without spaces")
    digest = hashlib.sha256(key.encode()).digest()
    if not fetch(connection, "create_key", digest=digest, tenant=tenant):
        [holder] = fetch(connection, "holder_of_key", digest=digest)
        if holder["tenant_id"] != tenant or holder["revoked_at"] is not None:
            raise Refused("this key is another tenant's or was revoked: choose another")
    else:
        audit.note(connection, "key create", f"{digest.hex()[:_NAME_DIGITS]} of {tenant}")
    return key


def keys(connection: Connection, tenant: str | None = None) -> list[dict[str, Any]]:
    """The keys of a tenant, or of all: `key` (the beginning of its digest), `tenant`, `created_at`, `revoked_at`.

    Raises:
        UnknownTenant: there is no such tenant.
    """
    if tenant is not None and not fetch(connection, "find_tenant", tenant=tenant):
        raise UnknownTenant(f"there is no tenant {tenant}")
    return fetch(connection, "keys", tenant=tenant)


def revoke_key(connection: Connection, key: str, is_last_meant: bool = False) -> str:
    """Take a key away by the name that `keys` gives it, and return its tenant. Idempotent.

    Raises:
        UnknownKey: there is no such key, or more than one.
        Refused: the tenant would have none left, and that is not meant.
    """
    all_keys = fetch(connection, "keys", tenant=None)
    found = [row for row in all_keys if row["key"] == key]
    if len(found) != 1:
        raise UnknownKey(f"there are {len(found)} keys {key}: doorbell key list names them")
    tenant = str(found[0]["tenant"])
    others = [
        row
        for row in all_keys
        if row["tenant"] == tenant and row["key"] != key and row["revoked_at"] is None
    ]
    if found[0]["revoked_at"] is None and not others and not is_last_meant:
        raise Refused(
            f"{key} is the only key of {tenant}, whose logins would be refused: give it another first"
            f" (doorbell key create {tenant}), or say --last"
        )
    if found[0]["revoked_at"] is None:
        fetch(connection, "revoke_key", key=key)
        audit.note(connection, "key revoke", f"{key} of {tenant}")
    return tenant
