"""How tests share what they start."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling


class FolderScheduling(LoadScopeScheduling):
    """With several workers, one of them has all tests of a folder, which share a broker and a database.

    xdist's own marks for that (loadgroup) do not reach pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0].rpartition("/")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FolderScheduling:
    """Used with `--dist loadscope`."""
    return FolderScheduling(config, log)
