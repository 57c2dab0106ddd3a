"""Addresses are looked up in the registries' data, and in real database files of MaxMind's format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from services.adapters.networks import AddressData
from services.domain.errors import ConfigurationError
from services.domain.network import Network


def _database(path: Path, rows: dict[str, dict[str, Any]]) -> str:
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True)
    for network, row in rows.items():
        writer.insert_network(IPSet([network]), row)
    writer.to_db_file(str(path))
    return str(path)


def test_countries_are_known_without_a_database() -> None:
    """By the registries."""
    assert AddressData().of("8.8.8.8") == Network("US")
    assert AddressData().of("2001:4860:4860::8888") == Network("US")


@pytest.mark.parametrize("ip", ["10.0.0.1", "127.0.0.1", "203.0.113.7", "fe80::1", "2001:db8::1"])
def test_nothing_is_known_of_what_is_not_public(ip: str) -> None:
    """Not even when a database says something of it."""
    assert AddressData().of(ip) == Network()


def test_databases_add_providers_and_better_countries(tmp_path: Path) -> None:
    """Each says what it knows, the first one first; odd rows say nothing."""
    asn = _database(
        tmp_path / "asn.mmdb",
        {
            "8.8.8.0/24": {
                "autonomous_system_number": 15169,
                "autonomous_system_organization": "Example Net",
            },
            "2001:4860::/32": {"autonomous_system_number": 15169},
            "9.9.9.0/24": {"autonomous_system_number": "none"},
        },
    )
    country = _database(
        tmp_path / "country.mmdb",
        {"8.8.8.0/24": {"country": {"iso_code": "CH"}}, "9.9.9.0/24": {"country_code": "DE"}},
    )
    data = AddressData([asn, country])
    assert data.of("8.8.8.8") == Network("CH", 15169)
    assert data.of("2001:4860:4860::8888") == Network("US", 15169)
    assert data.of("9.9.9.9") == Network("DE")
    assert [data.of(ip).provider for ip in ("8.8.8.8", "9.9.9.9")] == ["Example Net", ""]
    data.close()


def test_a_database_of_one_kind_says_nothing_of_the_other(tmp_path: Path) -> None:
    """Weak evidence stops no login."""
    writer = MMDBWriter(ip_version=4)
    writer.insert_network(IPSet(["8.8.8.0/24"]), {"autonomous_system_number": 15169})
    writer.to_db_file(str(tmp_path / "four.mmdb"))
    data = AddressData([str(tmp_path / "four.mmdb")])
    assert data.of("8.8.8.8") == Network("US", 15169)
    assert data.of("2001:4860:4860::8888") == Network("US")


def test_what_is_no_database_is_named(tmp_path: Path) -> None:
    """Before the process starts to work."""
    (tmp_path / "text").write_text("no database")
    for path in (tmp_path / "text", tmp_path / "missing"):
        with pytest.raises(ConfigurationError, match=rf"DOORBELL_NETWORK_DATABASES: {path} cannot"):
            AddressData([str(path)])
