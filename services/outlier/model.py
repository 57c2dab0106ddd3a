"""The risk score of Freeman et al. (2016), as a pure function of counts.

For each feature the score takes how common the observed value is among all logins
against how common it is in this user's own: rare for the user but ordinary for the
world is what a stolen password looks like. The factors are multiplied, then weighed by
how seldom the account signs in. References: D. Freeman, S. Jain, M. Duermuth, B. Biggio,
G. Giacinto, "Who Are You? A Statistical Approach to Measuring User Authenticity", NDSS
2016, equation 7 without attack data; weights and edge cases: S. Wiefling, P. R.
Joergensen, S. Thunem, L. Lo Iacono, "Pump Up Password Security!", ACM TOPS 2022.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

VERSION = "freeman-2016.1"

Level = Literal["low", "medium", "high"]
Action = Literal["allow", "challenge", "deny"]

FEATURES: Mapping[str, Mapping[str, float]] = {
    "address": {"ip_network": 0.6, "asn": 0.3, "country": 0.1},
    "user_agent": {
        "user_agent": 0.5386653840551359,
        "browser": 0.2680451498625666,
        "os": 0.18818295100109536,
        "device_type": 0.0051065150812021525,
    },
}
"""The levels of each feature from fine to coarse, with their weights (Wiefling et al. 2022)."""

UNSEEN_BY_USER_FACTOR = 4.0
"""What a feature contributes when the user never showed any of its levels (Wiefling et al. 2022).

Smoothing here too would make a total novelty look safe: unseen over unseen is about 1.
"""

ACTIONS: Mapping[Level, Action] = {"low": "allow", "medium": "challenge", "high": "deny"}


@dataclass(frozen=True, slots=True)
class Totals:
    """The history's size: all logins, all users, and the logins of this user."""

    logins: int
    users: int
    user_logins: int


@dataclass(frozen=True, slots=True)
class Seen:
    """One level's observed value in the history.

    by_user, by_all: logins that showed this value.
    distinct: different values of this level among all logins.
    known_of_user: logins of the user that showed any value of the level; None: all of them.
    """

    by_user: int
    by_all: int
    distinct: int
    known_of_user: int | None = None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which score on a login is `medium` and `high`.

    At 1 an attack and the user are equally likely, if both were equally frequent.
    Scores are relative to a history, so whoever runs this chooses by how many of
    the own users may be asked again.
    """

    medium: float = 1.0
    high: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.medium < self.high:
            raise ValueError(
                f"thresholds must satisfy 0 < medium < high, not {self.medium}, {self.high}"
            )


def risk_score(seen: Mapping[str, Seen], totals: Totals) -> float | None:
    """The score of a login whose facts were seen as `seen` says; None for a user's first login.

    A level that is absent from `seen` is left out and the weights of the rest of its
    feature are scaled up; a feature without levels has no say. Left out is also a coarser level
    that most of the user's logins say nothing of: that it was not known then makes no value unusual.
    """
    if totals.user_logins == 0:
        return None
    attack = 1 / totals.users
    score = attack / (totals.user_logins / totals.logins)
    for weights in FEATURES.values():
        levels = [(weights[level], seen[level]) for level in _counted(weights, seen, totals)]
        if levels:
            score *= _factor(levels, totals)
    return score


def _counted(levels: Iterable[str], seen: Mapping[str, Seen], totals: Totals) -> Iterator[str]:
    """The finest of a feature's levels that is there, and those that most of the user's logins have."""
    is_finest = True
    for level in levels:
        if level in seen:
            known = seen[level].known_of_user
            if is_finest or known is None or 2 * known >= totals.user_logins:
                yield level
            is_finest = False


def _factor(levels: Sequence[tuple[float, Seen]], totals: Totals) -> float:
    """How common among all against how common for the user, interpolated over the levels."""
    if all(level.by_user == 0 for _, level in levels):
        return UNSEEN_BY_USER_FACTOR
    (finest_weight, finest), *coarser = levels
    unseen_values = 1 + sum(level.distinct for _, level in coarser)
    by_all = finest_weight * smoothed(finest.by_all, totals.logins, unseen_values)
    by_all += sum(weight * level.by_all / totals.logins for weight, level in coarser)
    by_user = sum(weight * level.by_user / totals.user_logins for weight, level in levels)
    return by_all / by_user


def smoothed(count: int, total: int, unseen_values: int) -> float:
    """The probability of a value seen `count` times in `total`, leaving room for unseen values."""
    if count == 0:
        return 1 / (total + unseen_values)
    return count / total * (1 - unseen_values / (total + unseen_values))


def level_of(score: float | None, thresholds: Thresholds, *, device_known: bool) -> Level:
    """The level of a score. A device the user is known by is never `high`.

    Without that, a user who moved would be denied for ever: denied logins are not learned.
    """
    if score is None or score < thresholds.medium:
        return "low"
    if score < thresholds.high or device_known:
        return "medium"
    return "high"


def reasons_of(seen: Mapping[str, Seen], totals: Totals, *, device_known: bool) -> tuple[str, ...]:
    """What is new about the login, in a fixed order; `first_login` stands alone."""
    if totals.user_logins == 0:
        return ("first_login",)
    new = [
        f"new_{level}"
        for weights in FEATURES.values()
        for level in _counted(weights, seen, totals)
        if seen[level].by_user == 0
    ]
    return tuple(new if device_known else ["unknown_device", *new])
