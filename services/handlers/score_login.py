"""Asks the outlier API about logins that are stored."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from services.domain.errors import Refused, Unavailable
from services.domain.model import Verdict
from services.domain.outcome import Done, Failed, Outcome, Wire
from services.handlers.check_device import missing_login
from services.handlers.ports import Breaker, Directly, OutlierApi
from services.handlers.records import SavedLogin


def score_logins(
    groups: Sequence[Sequence[Wire]], directly: Directly, api: OutlierApi, breaker: Breaker
) -> list[Outcome]:
    """Ask for the verdicts on the logins that each group's results are about.

    No transaction is open during the call. While the breaker is open the
    outcome is `Unavailable` at once, without a call; its probe asks about one login.
    """
    asked = [_workflow_of(results) for results in groups]
    with directly() as tx:
        found = tx.saved_logins([each for each in asked if isinstance(each, UUID)])
    verdicts = _verdicts(list(found.values()), api, breaker)
    outcomes: list[Outcome] = []
    for each in asked:
        if isinstance(each, Refused):
            outcomes.append(Failed(each))
        elif each not in found:
            outcomes.append(missing_login(each))
        else:
            outcomes.append(verdicts[each])
    return outcomes


def _workflow_of(results: Sequence[Wire]) -> UUID | Refused:
    workflow_ids = {UUID(result["workflow_id"]) for result in results}
    if len(workflow_ids) != 1:
        return Refused(f"the results are about {len(workflow_ids)} workflows, not one")
    return workflow_ids.pop()


def _verdicts(
    logins: Sequence[SavedLogin], api: OutlierApi, breaker: Breaker
) -> dict[UUID, Outcome]:
    if not logins:
        return {}
    try:
        is_probe = breaker.check()
    except Unavailable as error:
        return {login.workflow_id: Failed(error) for login in logins}
    asked = logins[:1] if is_probe else logins
    answers = api.score(asked)
    # A refusal is an answer too: the API is there, only this request is wrong.
    if all(isinstance(answer, Unavailable) for answer in answers):
        breaker.record_failure()
    else:
        breaker.record_success()
    waiting = Failed(Unavailable("the circuit breaker is open, and another login is its probe"))
    outcomes: dict[UUID, Outcome] = {login.workflow_id: waiting for login in logins}
    for login, answer in zip(asked, answers, strict=True):
        outcomes[login.workflow_id] = (
            Done(answer.to_message()) if isinstance(answer, Verdict) else Failed(answer)
        )
    return outcomes


def unscored(workflow_id: UUID) -> Verdict:
    """The verdict when the API gave none (fail open): it allows, and turns nothing on."""
    return Verdict(
        workflow_id=workflow_id,
        level="unscored",
        action="allow",
        score=None,
        reasons=("no_answer",),
        model_version=None,
        request_id=str(workflow_id),
    )
