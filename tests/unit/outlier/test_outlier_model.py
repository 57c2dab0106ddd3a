"""The risk score against values computed by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.outlier.model import (
    FEATURES,
    Seen,
    Thresholds,
    Totals,
    level_of,
    reasons_of,
    risk_score,
    smoothed,
)

TOTALS = Totals(logins=10, users=2, user_logins=4)
UNSEEN = Seen(by_user=0, by_all=0, distinct=3)
ADDRESS = {
    "ip_network": Seen(by_user=3, by_all=3, distinct=7),
    "asn": Seen(by_user=4, by_all=6, distinct=3),
    "country": Seen(by_user=4, by_all=8, distinct=2),
}


def test_a_value_that_was_seen_leaves_room_for_unseen_ones() -> None:
    """3 of 10 with 6 unseen values: 3/10 * (1 - 6/16) = 0.1875; unseen: 1/16."""
    assert smoothed(3, 10, 6) == pytest.approx(0.1875, abs=1e-12)
    assert smoothed(0, 10, 6) == pytest.approx(0.0625, abs=1e-12)


def test_a_usual_address() -> None:
    """The score of a usual address.

    Unseen values: 1 + 3 systems + 2 countries = 6.
    All:  0.6 * 3/10 * (1 - 6/16) + 0.3 * 6/10 + 0.1 * 8/10 = 0.1125 + 0.18 + 0.08 = 0.3725.
    User: 0.6 * 3/4 + 0.3 * 4/4 + 0.1 * 4/4 = 0.85.
    Account: (1/2) / (4/10) = 1.25.  Score: 1.25 * 0.3725 / 0.85 = 0.5477941176.
    """
    assert risk_score(ADDRESS, TOTALS) == pytest.approx(0.5477941176470588, abs=1e-9)


def test_a_new_network_of_the_usual_provider() -> None:
    """The score of a new network in a known system.

    All:  0.6 * 1/16 + 0.18 + 0.08 = 0.2975.  User: 0.6 * 0 + 0.3 + 0.1 = 0.4.
    Score: 1.25 * 0.2975 / 0.4 = 0.9296875.
    """
    seen = {**ADDRESS, "ip_network": Seen(by_user=0, by_all=0, distinct=7)}
    assert risk_score(seen, TOTALS) == pytest.approx(0.9296875, abs=1e-9)


def test_a_usual_user_agent() -> None:
    """The score of a usual user agent.

    Unseen values: 1 + 4 browsers + 3 systems + 2 kinds of device = 10.
    All:  0.5386653841 * 2/10 * (1 - 10/20) + 0.2680451499 * 5/10 + 0.1881829510 * 7/10
          + 0.0051065151 * 9/10 = 0.0538665384 + 0.1340225749 + 0.1317280657 + 0.0045958636
          = 0.3242130426.
    User: 0.5386653841 * 2/4 + 0.2680451499 * 3/4 + 0.1881829510 + 0.0051065151
          = 0.2693326920 + 0.2010338624 + 0.1881829510 + 0.0051065151 = 0.6636560205.
    Score: 1.25 * 0.3242130426 / 0.6636560205 = 0.6106571639.
    """
    seen = {
        "user_agent": Seen(by_user=2, by_all=2, distinct=9),
        "browser": Seen(by_user=3, by_all=5, distinct=4),
        "os": Seen(by_user=4, by_all=7, distinct=3),
        "device_type": Seen(by_user=4, by_all=9, distinct=2),
    }
    assert risk_score(seen, TOTALS) == pytest.approx(0.6106571639, abs=1e-9)


def test_features_multiply() -> None:
    """A usual address (0.3725 / 0.85) with a user agent never seen (4): 1.25 * 4 * 0.4382352941."""
    seen = {**ADDRESS, "browser": UNSEEN}
    assert risk_score(seen, TOTALS) == pytest.approx(2.1911764706, abs=1e-9)


def test_a_total_novelty_is_not_safe() -> None:
    """Nothing seen by the user: each feature counts 4, so 1.25 * 4 * 4 = 20."""
    seen = {level: UNSEEN for weights in FEATURES.values() for level in weights}
    assert risk_score(seen, TOTALS) == pytest.approx(20.0, abs=1e-9)


def test_levels_that_are_not_known_have_no_say() -> None:
    """Country alone is its feature's finest level.

    All: 8/10 * (1 - 1/11) = 8/11.  User: 1/4.  Score: 1.25 * (8/11) / (1/4) = 40/11.
    """
    seen = {"country": Seen(by_user=1, by_all=8, distinct=5)}
    assert risk_score(seen, TOTALS) == pytest.approx(40 / 11, abs=1e-9)


def test_without_facts_only_the_account_counts() -> None:
    """No feature: (1/2) / (4/10) = 1.25."""
    assert risk_score({}, TOTALS) == pytest.approx(1.25, abs=1e-12)


def test_a_first_login_has_no_score() -> None:
    """Without history there is nothing to compare with: no score, level low, one reason."""
    first = Totals(logins=10, users=2, user_logins=0)
    assert risk_score({"country": UNSEEN}, first) is None
    assert level_of(None, Thresholds(), device_known=False) == "low"
    assert reasons_of({"country": UNSEEN}, first, device_known=False) == ("first_login",)


def test_reasons_name_what_is_new_in_a_fixed_order() -> None:
    """A client can rely on the codes and on their order."""
    seen = {"os": UNSEEN, "country": ADDRESS["country"], "ip_network": UNSEEN}
    assert reasons_of(seen, TOTALS, device_known=False) == (
        "unknown_device",
        "new_ip_network",
        "new_os",
    )
    assert reasons_of(seen, TOTALS, device_known=True) == ("new_ip_network", "new_os")


@pytest.mark.parametrize(
    ("score", "device_known", "level"),
    [
        (0.99, False, "low"),
        (1.0, False, "medium"),
        (9.99, False, "medium"),
        (10.0, False, "high"),
        (1e9, True, "medium"),
        (0.0, True, "low"),
    ],
)
def test_levels_begin_at_their_thresholds(score: float, device_known: bool, level: str) -> None:
    """A threshold belongs to the level above it, and a known device is never high."""
    assert level_of(score, Thresholds(1.0, 10.0), device_known=device_known) == level


def test_thresholds_out_of_order_are_refused() -> None:
    """Thresholds that would hide a level are a mistake."""
    with pytest.raises(ValueError, match="0 < medium < high"):
        Thresholds(medium=5.0, high=5.0)


@given(
    by_user=st.integers(0, 50),
    of_others=st.integers(0, 1000),
    user_logins=st.integers(50, 100),
    users=st.integers(1, 500),
    distinct=st.integers(0, 1000),
)
def test_every_score_is_a_positive_number(
    by_user: int, of_others: int, user_logins: int, users: int, distinct: int
) -> None:
    """No history divides by zero or makes the score useless for comparing."""
    seen = {"asn": Seen(by_user, by_user + of_others, distinct), "country": UNSEEN}
    score = risk_score(seen, Totals(user_logins + of_others, users, user_logins))
    assert score is not None
    assert score > 0
    assert math.isfinite(score)


@pytest.mark.parametrize(("known", "is_counted"), [(0, False), (4, False), (5, True), (10, True)])
def test_a_level_that_was_not_known_before_makes_nothing_unusual(
    known: int, is_counted: bool
) -> None:
    """A coarser one counts once half of the user's logins have it; the finest counts always."""
    totals = Totals(logins=100, users=10, user_logins=10)
    network = Seen(by_user=0, by_all=2, distinct=30, known_of_user=10)
    country = Seen(by_user=known, by_all=90, distinct=1, known_of_user=known)
    both = risk_score({"ip_network": network, "country": country}, totals)
    alone = risk_score({"ip_network": network}, totals)
    assert (both != alone) == is_counted
    unusual = Seen(by_user=0, by_all=90, distinct=1, known_of_user=known)
    reasons = reasons_of({"ip_network": network, "country": unusual}, totals, device_known=True)
    assert ("new_country" in reasons) == is_counted
