"""Where calls to a tenant's targets may go: to public addresses, and to hosts allowed by name."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from services.adapters.http_client import all_addresses
from services.domain.errors import Refused

_NAT64 = ip_network("64:ff9b::/96")
_GIVEN_OUT = ip_network("2000::/3")
"""All that IANA gives out of IPv6; the rest is special, old or not yet anything."""

_DOCUMENTATION = ip_network("3fff::/20")


def checked_addresses(host: str, port: int, allowed: Collection[str]) -> list[str]:
    """Resolve `host` to the addresses that may be connected to.

    Raises:
        Refused: one of its addresses is not public, and the host is not allowed by name.
        OSError: it does not resolve.
    """
    addresses = all_addresses(host, port)
    if host.lower() not in allowed:
        for address in addresses:
            if not is_public(address):
                raise Refused(
                    f"{host} leads to {address}, which is not a public address:"
                    " allow the host by name in DOORBELL_ALLOWED_PRIVATE_HOSTS or change the target"
                )
    return addresses


def is_public(address: str) -> bool:
    """Whether an address is one of the internet, also when it wraps an IPv4 address."""
    parsed = ip_address(address.partition("%")[0])
    inner = _wrapped(parsed) if isinstance(parsed, IPv6Address) else None
    if inner is not None:
        return is_public(str(inner))
    if isinstance(parsed, IPv6Address) and (parsed not in _GIVEN_OUT or parsed in _DOCUMENTATION):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def _wrapped(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour
