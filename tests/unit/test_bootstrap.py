"""What a process is put together from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from celery import Celery

from services.bootstrap import register_steps
from services.domain.errors import ConfigurationError
from tests.unit.routing.small import GOOD, load_text


def test_a_pool_without_a_module_is_named(tmp_path: Path) -> None:
    """With the file that is to be written."""
    topology = load_text(tmp_path, GOOD)

    with pytest.raises(ConfigurationError, match=r"services/pools/bells\.py"):
        register_steps(Celery(set_as_current=False), topology, cast(Any, None))
