"""Verdicts of a world's logins, and acting on them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from services.domain.model import Verdict
from services.domain.outcome import Outcome
from services.domain.policy import DEFAULT
from services.handlers.apply_verdict import apply_verdicts
from tests.integration.adapters.conftest import AT, World


def make_verdict(workflow_id: UUID, level: Any = "low", action: Any = "allow") -> Verdict:
    """What the API would say of a login, with reasons that try the driver."""
    return Verdict(workflow_id, level, action, 1.5, ("new_device", 'é,{}"'), "m1", str(workflow_id))


def apply(world: World, *verdicts: Verdict) -> list[Outcome]:
    """Act on verdicts in a transaction of its own."""
    with world.begin() as tx:
        return list(apply_verdicts(verdicts, tx))


def store_earlier(
    world: World, user_id: str = "ada", logins: int = DEFAULT.lock_from, **facts: Any
) -> None:
    """A user's logins of the days before the world's usual one: by the usual policy enough for a verdict to lock."""
    for days in range(1, logins + 1):
        world.saved(user_id=user_id, occurred_at=AT - timedelta(days=days), **facts)
