"""`doorbell tenant`: which there are, and how much they may ask for."""

from __future__ import annotations

import pytest

from tests.integration.cli.conftest import Run


@pytest.fixture(autouse=True)
def shop(database_url: str, doorbell: Run) -> None:
    doorbell("tenant", "create", "shop", "The Shop")


def test_a_limit_is_shown_until_it_is_taken_away(doorbell: Run) -> None:
    """Set to what it is already, nothing changes."""
    for said, is_set in (("12.5", 12.5), ("12.5", 12.5), ("none", None)):
        code, answer = doorbell("tenant", "limit", "shop", said)
        assert (code, answer) == (0, {"tenant": "shop", "requests_per_second": is_set})
        [row] = doorbell("tenant", "list")[1]
        assert row == {"tenant": "shop", "name": "The Shop", "requests_per_second": is_set}


@pytest.mark.parametrize("said", ["0", "much", "nan", "inf", "0.001", "1e9", ""])
def test_what_is_no_limit_is_named(doorbell: Run, said: str) -> None:
    """With what one looks like; the one that is there stays."""
    doorbell("tenant", "limit", "shop", "7")
    code, error = doorbell("tenant", "limit", "shop", said)
    assert code == 1
    assert f"{said!r} is no number of requests a second" in error
    assert doorbell("tenant", "list")[1][0]["requests_per_second"] == 7


def test_an_unknown_tenant_is_named(doorbell: Run) -> None:
    """And where to find the others."""
    code, error = doorbell("tenant", "limit", "bank", "7")
    assert (code, "there is no tenant bank: doorbell tenant list" in error) == (4, True)
