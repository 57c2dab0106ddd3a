"""How many requests a second are let through."""

from __future__ import annotations

import pytest

from services.gateway.rates import BURST_SECONDS, Caller, Rates


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _passed(rates: Rates, caller: Caller, tries: int) -> int:
    return sum(rates.take(caller) == 0 for _ in range(tries))


@pytest.mark.parametrize("per_second", [0.5, 1.0, 20.0])
def test_a_burst_and_then_the_rate(per_second: float) -> None:
    """Whoever asks all the time gets the rate, behind five seconds' worth; who was refused was not counted."""
    clock, caller = Clock(), Caller("shop", per_second)
    rates = Rates(clock)
    assert _passed(rates, caller, 1000) == int(BURST_SECONDS * per_second) + 1
    passed = 0
    for _ in range(4000):
        clock.now += 0.025
        passed += _passed(rates, caller, 3)
    assert passed == pytest.approx(100 * per_second, abs=1)


def test_who_waits_as_told_is_let_through() -> None:
    """Not before."""
    clock, caller = Clock(), Caller("shop", 2.0)
    rates = Rates(clock)
    _passed(rates, caller, 100)
    wait = rates.take(caller)
    clock.now += wait - 0.01
    assert 0 < rates.take(caller) < 0.02
    clock.now += 0.02
    assert rates.take(caller) == 0


def test_a_batch_is_let_through_whole_and_paid_for_afterwards() -> None:
    """However large: what follows waits for as long as it is worth."""
    clock, caller = Clock(), Caller("shop", 10.0)
    rates = Rates(clock)
    assert rates.take(caller) == 0
    rates.charge(caller, 999)
    assert rates.take(caller) == pytest.approx(100 - BURST_SECONDS)


@pytest.mark.parametrize("raised", [1000.0, None])
def test_a_debt_is_paid_at_the_rate_of_now(raised: float | None) -> None:
    """A limit that is raised after a large batch helps at once; one that was away for a while begins anew."""
    clock = Clock()
    rates = Rates(clock)
    assert rates.take(Caller("shop", 1.0)) == 0
    rates.charge(Caller("shop", 1.0), 999)
    assert rates.take(Caller("shop", raised)) == 0
    after = rates.take(Caller("shop", 1.0))
    assert after == 0 if raised is None else after > 900


def test_tenants_do_not_pay_for_each_other() -> None:
    """And those without a limit not at all."""
    clock = Clock()
    rates = Rates(clock)
    _passed(rates, Caller("shop", 1.0), 100)
    assert rates.take(Caller("bank", 1.0)) == 0
    assert _passed(rates, Caller("free"), 1000) == 1000
