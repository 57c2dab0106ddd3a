"""Asks the outlier API about a login that is stored."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from services.domain.errors import Refused, Unavailable
from services.domain.model import Verdict
from services.domain.outcome import Done, Failed, Outcome, Wire
from services.handlers.check_device import missing_login
from services.handlers.ports import Begin, Breaker, OutlierApi


def score_login(
    results: Sequence[Wire], begin: Begin, api: OutlierApi, breaker: Breaker
) -> Outcome:
    """Ask for the verdict on the login that the group's results are about.

    No transaction is open during the call. While the breaker is open the
    outcome is `Unavailable` at once, without a call.
    """
    workflow_ids = {UUID(result["workflow_id"]) for result in results}
    if len(workflow_ids) != 1:
        return Failed(Refused(f"the results are about {len(workflow_ids)} workflows, not one"))
    workflow_id = workflow_ids.pop()
    with begin() as tx:
        login = tx.saved_login(workflow_id)
    if login is None:
        return missing_login(workflow_id)
    try:
        breaker.check()
    except Unavailable as error:
        return Failed(error)
    try:
        verdict = api.score(login)
    except Unavailable as error:
        breaker.record_failure()
        return Failed(error)
    except Refused as error:
        # The API is there and answers: only this request is wrong.
        breaker.record_success()
        return Failed(error)
    breaker.record_success()
    return Done(verdict.to_message())


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
