"""The logins of a measurement: the samples' people and histories, under users of its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count, islice
from typing import Any

from deploy.local import samples


def logins(number: int, run: str) -> list[dict[str, Any]]:
    """That many logins as the gateway takes them; each `run` has users nobody has seen before."""
    return list(islice(endless(run), number))


def endless(run: str) -> Iterator[dict[str, Any]]:
    """As `logins`, one after another; each time around the samples has users of its own too."""
    now = datetime.now(UTC)
    for wave in count():
        name = f"{run}-{wave}"
        for login in samples.load(now, name):
            yield login | {"user_id": f"{login['user_id']}-{name}"}
