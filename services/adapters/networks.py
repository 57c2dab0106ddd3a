"""Says of an address which country and provider it is of, from data at hand: nobody is asked."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import maxminddb
from iptocc import country_code

from services.domain.errors import ConfigurationError
from services.domain.network import LARGEST_ASN, Network


class AddressData:
    """Implements `services.handlers.ports.Networks`.

    Countries are those of the registries (RIR), which the package iptocc brings along, unless one of
    the operator's databases in MaxMind's format says otherwise; providers are known from such a database alone
    (`GeoLite2-ASN.mmdb` and others with `autonomous_system_number` and `autonomous_system_organization`,
    `country.iso_code` or `country_code`).
    """

    def __init__(self, databases: Sequence[str] = ()) -> None:
        """Open the databases.

        Raises:
            ConfigurationError: one of them cannot be read or is none.
        """
        with ExitStack() as opened:
            self._databases = [opened.enter_context(_open(path)) for path in databases]
            self._opened = opened.pop_all()
        self._found = lru_cache(maxsize=4096)(self._look_up)

    def of(self, ip: str) -> Network:
        return self._found(ip)

    def _look_up(self, ip: str) -> Network:
        address = ip_address(ip)
        if not address.is_global:
            return Network()
        country, asn, provider = "", 0, ""
        for database in self._databases:
            row = _row(database, address)
            country = country or _country(row)
            if not asn:
                asn, provider = _asn(row), _provider(row)
        return Network(country or country_code(ip) or "", asn, provider)

    def close(self) -> None:
        """Close the databases."""
        self._opened.close()


def _open(path: str) -> maxminddb.Reader:
    try:
        return maxminddb.open_database(Path(path))
    except (OSError, maxminddb.InvalidDatabaseError) as error:
        raise ConfigurationError(
            f"DOORBELL_NETWORK_DATABASES: {path} cannot be read as a database in MaxMind's format: {error}"
        ) from error


def _row(database: maxminddb.Reader, address: IPv4Address | IPv6Address) -> dict[str, Any]:
    """What a database says; weak evidence that cannot be read is none."""
    if address.version == 6 and database.metadata().ip_version == 4:
        return {}
    try:
        row = database.get(address)
    except maxminddb.InvalidDatabaseError:
        return {}
    return row if isinstance(row, dict) else {}


def _country(row: dict[str, Any]) -> str:
    country = row.get("country")
    found = country.get("iso_code") if isinstance(country, dict) else row.get("country_code")
    return found if isinstance(found, str) and len(found) == 2 else ""


def _asn(row: dict[str, Any]) -> int:
    found = row.get("autonomous_system_number")
    return found if isinstance(found, int) and 0 < found <= LARGEST_ASN else 0


def _provider(row: dict[str, Any]) -> str:
    found = row.get("autonomous_system_organization")
    return found if isinstance(found, str) else ""
