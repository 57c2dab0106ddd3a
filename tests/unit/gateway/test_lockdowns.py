"""What an application asks for in an incident is read whole, or refused with the names of its fields."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import pytest

from services.gateway.lockdowns import as_lockdown, read_lockdown

SINCE = "2030-01-31T08:00:00Z"


def test_all_that_is_said_of_a_place_is_taken() -> None:
    """Network, provider and country together."""
    asked = {"switch": "locked", "since": SINCE, "network": "192.0.2.0/24"}
    report, errors = read_lockdown({**asked, "asn": 2**32 - 1, "country": "NL"})
    assert errors == []
    assert report is not None
    wanted = as_lockdown(report, "shop")
    assert (wanted.users, wanted.network) == (None, ip_network("192.0.2.0/24"))
    assert (wanted.asn, wanted.country) == (2**32 - 1, "NL")
    assert wanted.since == datetime(2030, 1, 31, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"asn": 64500}, "since"),
        ({"country": "NL"}, "since"),
        ({"since": SINCE}, "network"),
        ({}, "users"),
        ({"users": ["ada"], "asn": 64500, "since": SINCE}, "users"),
        ({"users": ["ada"], "country": "NL"}, "users"),
        ({"asn": 0, "since": SINCE}, "asn"),
        ({"asn": 2**32, "since": SINCE}, "asn"),
        ({"asn": "64500", "since": SINCE}, "asn"),
        ({"asn": True, "since": SINCE}, "asn"),
        ({"country": "nl", "since": SINCE}, "country"),
        ({"country": "NL\n", "since": SINCE}, "country"),
        ({"country": "NLD", "since": SINCE}, "country"),
        ({"country": 7, "since": SINCE}, "country"),
    ],
)
def test_what_is_wrong_is_named(asked: dict[str, Any], field: str) -> None:
    """Nothing is asked for then."""
    report, errors = read_lockdown({"switch": "locked", **asked})
    assert report is None
    assert [error.field for error in errors] == [field]
