"""How tests share what they start."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

_LONGEST_FIRST = ("workflow", "messaging", "tls", "ansible", "pools", "dead", "runner", "cli")
"""The folders that take minutes: one that begins last is waited for alone."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        name = item.path.parent.name
        return _LONGEST_FIRST.index(name) if name in _LONGEST_FIRST else len(_LONGEST_FIRST)

    items.sort(key=rank)


class FolderScheduling(LoadScopeScheduling):
    """With several workers, one of them has all tests of a folder, which share a broker and a database.

    xdist's own marks for that (loadgroup) do not reach pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0].rpartition("/")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FolderScheduling:
    """Used with `--dist loadscope`."""
    return FolderScheduling(config, log)
