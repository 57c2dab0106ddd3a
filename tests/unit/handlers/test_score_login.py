"""What the handler tells the breaker, and what it asks the API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import pytest

from services.domain.errors import Refused, Unavailable
from services.domain.model import Verdict
from services.domain.outcome import Done, Failed
from services.domain.policy import DEFAULT, Decision, decide
from services.handlers.ports import Transaction
from services.handlers.records import SavedLogin
from services.handlers.score_login import score_logins, unscored

WORKFLOW = UUID(int=1)
LOGIN = SavedLogin(WORKFLOW, "shop", "ada", datetime(2026, 3, 1, tzinfo=UTC), "::1", "", None, True)
VERDICT = Verdict(WORKFLOW, "low", "allow", 0.1, (), "m1", str(WORKFLOW))
OTHER = replace(LOGIN, workflow_id=UUID(int=5), user_id="bob")
RESULTS: list[dict[str, Any]] = [{"workflow_id": str(WORKFLOW)}, {"workflow_id": str(WORKFLOW)}]


class Reads:
    """The one read that scoring does."""

    def saved_logins(self, workflow_ids: Sequence[UUID]) -> Mapping[UUID, SavedLogin]:
        saved = {login.workflow_id: login for login in (LOGIN, OTHER)}
        return {each: saved[each] for each in workflow_ids if each in saved}


@contextmanager
def begin() -> Iterator[Transaction]:
    yield cast(Transaction, Reads())


def results_of(login: SavedLogin) -> list[dict[str, Any]]:
    return [{"workflow_id": str(login.workflow_id)}]


@dataclass
class Api:
    answer: Verdict | Unavailable | Refused
    others: Verdict | Unavailable | Refused = field(default_factory=Unavailable)
    asked: list[UUID] = field(default_factory=list)

    def score(self, logins: Sequence[SavedLogin]) -> Sequence[Verdict | Unavailable | Refused]:
        self.asked += [login.workflow_id for login in logins]
        return [self.answer if login == LOGIN else self.others for login in logins]

    def forget(self, tenant_id: str, user_id: str) -> int | None:
        raise NotImplementedError


@dataclass
class Breaker:
    is_open: bool = False
    is_probe: bool = False
    told: list[str] = field(default_factory=list)

    def check(self) -> bool:
        if self.is_open:
            raise Unavailable("open")
        return self.is_probe

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
    score_logins([RESULTS], begin, Api(answer), breaker)
    assert breaker.told == [told]


def test_a_list_of_which_one_is_answered_is_an_answer() -> None:
    """Some without an answer do not open the breaker while others have theirs."""
    breaker = Breaker()
    outcomes = score_logins([RESULTS, results_of(OTHER)], begin, Api(VERDICT), breaker)
    assert outcomes[0] == Done(VERDICT.to_message())
    assert isinstance(outcomes[1], Failed)
    assert breaker.told == ["success"]


def test_the_breakers_probe_is_one_login() -> None:
    """An API that may still be sick is asked once; the others of the list come again."""
    api = Api(VERDICT, others=VERDICT)
    outcomes = score_logins([RESULTS, results_of(OTHER)], begin, api, Breaker(is_probe=True))
    assert api.asked == [WORKFLOW]
    assert outcomes[0] == Done(VERDICT.to_message())
    assert isinstance(outcomes[1], Failed)
    assert isinstance(outcomes[1].error, Unavailable)


def test_an_open_breaker_means_no_call() -> None:
    """While it is open the outcome is there at once, and nothing is counted."""
    api, breaker = Api(VERDICT), Breaker(is_open=True)
    (outcome,) = score_logins([RESULTS], begin, api, breaker)
    assert isinstance(outcome, Failed)
    assert (api.asked, breaker.told) == ([], [])


def test_the_verdict_is_the_result() -> None:
    """What the next step gets is the verdict as a message."""
    verdicts = score_logins([RESULTS], begin, Api(VERDICT), Breaker())
    assert verdicts == [Done(VERDICT.to_message())]


@pytest.mark.parametrize(
    "results",
    [[], [*RESULTS, {"workflow_id": str(UUID(int=2))}], [{"workflow_id": str(UUID(int=3))}]],
)
def test_results_that_lead_to_no_login_are_refused(results: list[dict[str, Any]]) -> None:
    """None, several or an erased login: asking again would not help, and the rest of the list is asked about."""
    api = Api(VERDICT)
    outcome, other = score_logins([results, RESULTS], begin, api, Breaker())
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, Refused)
    assert other == Done(VERDICT.to_message())
    assert api.asked == [WORKFLOW]


def test_unscored_locks_nobody() -> None:
    """Failing open: no switch and no notice."""
    verdict = unscored(WORKFLOW)
    assert (verdict.level, verdict.action, verdict.score) == ("unscored", "allow", None)
    assert decide(DEFAULT, verdict, "ada") == Decision("unscored", (), is_notice_due=False)
