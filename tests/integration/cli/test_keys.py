"""`doorbell key`: an application's key is replaced without a moment in which it has none."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from services.cli import keys
from services.gateway import authentication
from tests.integration.cli.conftest import Run


@pytest.fixture
def shop(database_url: str, doorbell: Run) -> str:
    """A tenant with one key; gives the key's name."""
    assert doorbell("tenant", "create", "shop", "The Shop")[0] == 0
    return name_of(doorbell("key", "create", "shop")[1]["api_key"])


def name_of(key: str) -> str:
    return sha256(key.encode()).hexdigest()[:12]


def working(doorbell: Run) -> list[str]:
    return [row["key"] for row in doorbell("key", "list", "shop")[1] if row["revoked_at"] is None]


def test_a_key_is_replaced(shop: str, doorbell: Run) -> None:
    """A second one, then the first is taken away; once more changes nothing."""
    fresh = name_of(doorbell("key", "create", "shop")[1]["api_key"])
    assert working(doorbell) == [shop, fresh]
    assert doorbell("key", "revoke", shop) == (
        0,
        {"key": shop, "tenant": "shop", "revoked": True},
    )
    before = doorbell("key", "list")[1]
    assert working(doorbell) == [fresh]
    assert doorbell("key", "revoke", shop)[0] == 0
    assert doorbell("key", "list")[1] == before


def test_the_last_one_is_taken_away_only_when_that_is_meant(shop: str, doorbell: Run) -> None:
    """Its application would be shut out."""
    code, said = doorbell("key", "revoke", shop)
    assert code == 1
    assert "is the only key of shop" in said
    assert working(doorbell) == [shop]
    assert doorbell("key", "revoke", shop, "--last")[0] == 0
    assert working(doorbell) == []


def test_a_key_that_was_revoked_does_not_come_back(
    shop: str, doorbell: Run, tmp_path: Path
) -> None:
    """Not by giving it once more."""
    file = tmp_path / "key"
    file.write_text("key-of-the-shop-0001")
    doorbell("key", "create", "shop", "--key-file", file)
    doorbell("key", "revoke", name_of("key-of-the-shop-0001"))
    code, said = doorbell("key", "create", "shop", "--key-file", file)
    assert code == 1
    assert "was revoked" in said


@pytest.mark.parametrize(
    "arguments", [("revoke", "0123456789ab"), ("revoke", ""), ("list", "nobody")]
)
def test_what_is_not_there_is_said(shop: str, doorbell: Run, arguments: tuple[str, str]) -> None:
    code, said = doorbell("key", *arguments)
    assert code == 4
    assert "there" in said


def test_it_says_how_long_gateways_take() -> None:
    """The command cannot import the gateway."""
    assert keys.CACHED_SECONDS == authentication.CACHE_SECONDS
