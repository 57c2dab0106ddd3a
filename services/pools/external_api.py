"""The pool that asks the outlier API."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from services.domain.outcome import Done, Outcome, Wire
from services.handlers.erase_user import forget_user as forget
from services.handlers.export_user import export_learned as ask_what_was_learned
from services.handlers.import_logins import SliceOf
from services.handlers.import_logins import learn_slices as learn
from services.handlers.score_login import score_logins, unscored
from services.pools.wiring import Wiring
from services.runner.task import Steps

LEARNING_AT_ONCE = 2
"""So many calls of a process are about logins of before: those of now do not wait behind them."""


def register(steps: Steps, wiring: Wiring) -> None:
    """Declare the pool's steps."""

    def no_answer(results: Sequence[Wire]) -> Outcome:
        """Fail open: the login is kept as unscored and the rest of the workflow runs."""
        return Done(unscored(UUID(results[0]["workflow_id"])).to_message())

    @steps.io_list("external_api.score_login", exhausted=no_answer)
    def score_login(groups: Sequence[Sequence[Wire]]) -> Sequence[Outcome]:
        """What does the outlier API think of these logins?"""
        return score_logins(groups, wiring.directly, wiring.outlier_api, wiring.breaker)

    @steps.io("external_api.forget_user")
    def forget_user(erasure: Wire) -> Outcome:
        """Have the outlier API forget a user."""
        return forget(UUID(erasure["erasure_id"]), wiring.erasures, wiring.outlier_api)

    @steps.io("external_api.export_learned")
    def export_learned(export: Wire) -> Outcome:
        """Put aside what the outlier API has learned of a user."""
        return ask_what_was_learned(UUID(export["workflow_id"]), wiring.exports, wiring.outlier_api)

    @steps.io("external_api.learn_slices", at_once=LEARNING_AT_ONCE)
    def learn_slices(slices: SliceOf) -> Outcome:
        """Have the outlier API learn what was taken in of some users."""
        return learn(slices, wiring.directly, wiring.outlier_api, wiring.breaker)
