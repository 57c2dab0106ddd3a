"""Whether and when a step is tried again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.errors import Conflict, MessageTooLarge, Refused, Unavailable
from services.domain.retry import GiveUp, RetryIn, RetryPolicy, decide

POLICY = RetryPolicy(limit=3, base_seconds=4, cap_seconds=10)
LARGEST = 1 - 2**-53


@pytest.mark.parametrize(
    ("error", "retries", "jitter", "expected"),
    [
        # The first wait lies between half and the whole of the base.
        (Unavailable("x"), 0, 0.0, RetryIn(2)),
        (Unavailable("x"), 0, LARGEST, RetryIn(4)),
        # It doubles,
        (Unavailable("x"), 1, LARGEST, RetryIn(8)),
        # up to the cap, of which the jitter takes its share too.
        (Unavailable("x"), 2, LARGEST, RetryIn(10)),
        (Unavailable("x"), 2, 0.0, RetryIn(5)),
        # The limit is how many retries follow the first attempt.
        (Unavailable("x"), 3, 0.0, GiveUp("dead", "still unavailable after 3 retries: x")),
        # A message that came from elsewhere may be beyond it.
        (Unavailable("x"), 9, 0.0, GiveUp("dead", "still unavailable after 9 retries: x")),
        # Refused work is not tried again, and neither is its subclass.
        (Refused("x"), 0, 0.0, GiveUp("failed", "refused: x")),
        (MessageTooLarge("x"), 0, 0.0, GiveUp("failed", "refused: x")),
        # Anything that nobody expected is a bug: trying again would repeat it.
        (ValueError("x"), 0, 0.0, GiveUp("dead", "unexpected ValueError: x")),
        (ConnectionError("x"), 0, 0.0, GiveUp("dead", "unexpected ConnectionError: x")),
        # Conflict is success and never asked about; asked all the same, it is no retry.
        (Conflict("x"), 0, 0.0, GiveUp("dead", "unexpected Conflict: x")),
    ],
)
def test_decide(error: Exception, retries: int, jitter: float, expected: RetryIn | GiveUp) -> None:
    """The error's class decides whether, the policy how long."""
    assert decide(error, retries, POLICY, jitter) == expected


def test_a_limit_of_none() -> None:
    """0 retries: the first failure is the last."""
    policy = RetryPolicy(limit=0, base_seconds=1, cap_seconds=1)
    assert isinstance(decide(Unavailable(), 0, policy, 0.5), GiveUp)


def test_short_waits_are_a_whole_second() -> None:
    """Native delayed delivery refuses less."""
    policy = RetryPolicy(limit=1, base_seconds=0.01, cap_seconds=0.01)
    assert decide(Unavailable(), 0, policy, 0.0) == RetryIn(1)


@given(
    retries=st.integers(0, 50),
    base=st.floats(0.01, 600),
    cap=st.floats(0.01, 86400),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_waits_stay_within_bounds(retries: int, base: float, cap: float, jitter: float) -> None:
    """Whole seconds, at least one, at most the cap rounded up; never less than half the backoff."""
    decision = decide(Unavailable(), retries, RetryPolicy(51, base, cap), jitter)

    assert isinstance(decision, RetryIn)
    assert 1 <= decision.seconds <= max(1, cap + 1)
    assert decision.seconds >= min(cap, base * 2.0**retries) / 2


@given(
    retries=st.integers(0, 20),
    low=st.floats(0, 0.99),
    high=st.floats(0, 0.99),
    limit=st.integers(0, 20),
)
def test_more_jitter_never_waits_less(retries: int, low: float, high: float, limit: int) -> None:
    """And whether a step is tried again does not depend on chance."""
    policy = RetryPolicy(limit, 1, 60)
    first, second = (decide(Unavailable(), retries, policy, j) for j in sorted((low, high)))

    if isinstance(first, RetryIn) and isinstance(second, RetryIn):
        assert retries < limit
        assert first.seconds <= second.seconds
    else:
        assert retries >= limit
        assert first == second
