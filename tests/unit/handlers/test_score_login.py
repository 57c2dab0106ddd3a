"""What the handler tells the breaker, and what it asks the API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import pytest

from services.domain.errors import Refused, Unavailable
from services.domain.model import Verdict
from services.domain.outcome import Done, Failed
from services.domain.policy import DEFAULT, Decision, decide
from services.handlers.ports import SavedLogin, Transaction
from services.handlers.score_login import score_login, unscored

WORKFLOW = UUID(int=1)
LOGIN = SavedLogin(WORKFLOW, "shop", "ada", datetime(2026, 3, 1, tzinfo=UTC), "::1", "", None, True)
VERDICT = Verdict(WORKFLOW, "low", "allow", 0.1, (), "m1", str(WORKFLOW))
RESULTS: list[dict[str, Any]] = [{"workflow_id": str(WORKFLOW)}, {"workflow_id": str(WORKFLOW)}]


class Reads:
    """The one read that scoring does."""

    def saved_login(self, workflow_id: UUID) -> SavedLogin | None:
        return LOGIN if workflow_id == WORKFLOW else None


@contextmanager
def begin() -> Iterator[Transaction]:
    yield cast(Transaction, Reads())


@dataclass
class Api:
    answer: Verdict | Exception
    asked: int = 0

    def score(self, login: SavedLogin) -> Verdict:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@dataclass
class Breaker:
    is_open: bool = False
    told: list[str] = field(default_factory=list)

    def check(self) -> None:
        if self.is_open:
            raise Unavailable("open")

    def record_success(self) -> None:
        self.told.append("success")

    def record_failure(self) -> None:
        self.told.append("failure")


@pytest.mark.parametrize(
    ("answer", "told"),
    [(VERDICT, "success"), (Unavailable(), "failure"), (Refused(), "success")],
)
def test_the_breaker_hears_whether_the_api_is_there(answer: Any, told: str) -> None:
    """An answer counts as success, also a refusal; no usable answer counts as failure."""
    breaker = Breaker()
    score_login(RESULTS, begin, Api(answer), breaker)
    assert breaker.told == [told]


def test_an_open_breaker_means_no_call() -> None:
    """While it is open the outcome is there at once, and nothing is counted."""
    api, breaker = Api(VERDICT), Breaker(is_open=True)
    outcome = score_login(RESULTS, begin, api, breaker)
    assert isinstance(outcome, Failed)
    assert (api.asked, breaker.told) == (0, [])


def test_the_verdict_is_the_result() -> None:
    """What the next step gets is the verdict as a message."""
    assert score_login(RESULTS, begin, Api(VERDICT), Breaker()) == Done(VERDICT.to_message())


@pytest.mark.parametrize(
    "results",
    [[], [*RESULTS, {"workflow_id": str(UUID(int=2))}], [{"workflow_id": str(UUID(int=3))}]],
)
def test_results_that_lead_to_no_login_are_refused(results: list[dict[str, Any]]) -> None:
    """None, several or an erased login: asking again would not help."""
    api = Api(VERDICT)
    outcome = score_login(results, begin, api, Breaker())
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, Refused)
    assert api.asked == 0


def test_unscored_locks_nobody() -> None:
    """Failing open: no switch and no notice."""
    verdict = unscored(WORKFLOW)
    assert (verdict.level, verdict.action, verdict.score) == ("unscored", "allow", None)
    assert decide(DEFAULT, verdict, "ada") == Decision("unscored", (), is_notice_due=False)
