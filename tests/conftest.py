"""How tests share what they start."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A folder's tests share a broker and a database: with several workers, one of them has them all."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(str(item.path.parent)))
