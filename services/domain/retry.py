"""Whether and when a step is tried again: a pure decision."""

from __future__ import annotations

import math
from dataclasses import dataclass

from services.domain.errors import Refused, Unavailable


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with a cap and a mandatory limit.

    limit: how many retries follow the first attempt (0: none).
    base_seconds: the longest wait before the first retry; it doubles each time.
    cap_seconds: no wait is longer than this.
    """

    limit: int
    base_seconds: float
    cap_seconds: float


@dataclass(frozen=True, slots=True)
class RetryIn:
    """Try again after this many whole seconds, at least 1 (native delayed delivery refuses less)."""

    seconds: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not try again. `state` is what the step becomes: `failed` (refused) or `dead`."""

    state: str
    reason: str


def decide(
    error: BaseException, retries: int, policy: RetryPolicy, jitter: float
) -> RetryIn | GiveUp:
    """Decide on `error` after `retries` earlier retries.

    jitter: a random number in [0, 1); the wait lies between half and the whole
    of the backoff ("equal jitter", M. Brooker, AWS Architecture Blog, 2015).
    """
    if isinstance(error, Refused):
        return GiveUp("failed", f"refused: {error}")
    if not isinstance(error, Unavailable):
        return GiveUp("dead", f"unexpected {type(error).__name__}: {error}")
    if retries >= policy.limit:
        return GiveUp("dead", f"still unavailable after {retries} retries: {error}")
    backoff = min(policy.cap_seconds, policy.base_seconds * 2.0**retries)
    return RetryIn(max(1, math.ceil(backoff * (0.5 + jitter / 2))))
