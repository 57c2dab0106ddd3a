"""Proves from outside that nothing accepted is lost and nothing happened twice."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterable

from tests.chaos.calls import check_api_calls, check_mails, check_webhooks
from tests.chaos.evidence import (
    Evidence,
    Ledger,
    Row,
    told_states,
    wait_until_ended,
)
from tests.chaos.expectations import (
    check_events,
    check_notices,
    check_rows,
    check_steps,
    check_workflows,
)
from tests.chaos.findings import Findings
from tests.chaos.recovery import measure
from tests.chaos.repeats import copies

_ASKED = 150
"""So many workflows are also asked for at the gateway; the ledger's rows are read for all."""

_DUMPED = 4
_QUEUES_SECONDS = 30.0
_POLL_SECONDS = 0.5


def judge(evidence: Evidence, seconds: float) -> Findings:
    """Wait up to `seconds` for the workflows to end, then compare everything with what must be."""
    found = Findings(attempted=len(evidence.reports), accepted=len(evidence.accepted))
    wait_until_ended(evidence, seconds)
    left = evidence.places.broker.left(_QUEUES_SECONDS)
    ledger = Ledger(evidence)
    _check_door(evidence, found)
    check_workflows(evidence, ledger, found)
    check_steps(ledger, found)
    check_rows(evidence, ledger, found)
    check_notices(evidence, ledger, found)
    if evidence.is_told_of_all:
        check_events(ledger, found)
    _check_told(evidence, ledger, found)
    check_mails(evidence, ledger, found)
    check_webhooks(evidence, ledger, found)
    check_api_calls(evidence, ledger, found)
    for name, count in left.items():
        found.object(f"queue {name} still holds {count} messages")
    _check_dead_letters(evidence, ledger, found)
    measure(evidence, ledger, found)
    found.dump = "\n".join(tell_steps(ledger, list(found.suspects)[:_DUMPED]))
    return found


def _check_door(evidence: Evidence, found: Findings) -> None:
    answers = [answer for report in evidence.reports for answer in report.answers]
    found.slowest_answer = max((a.seconds for a in answers if a.status == 202), default=0.0)
    held_off = [answer for answer in answers if answer.status == 503]
    found.held_off = len(held_off)
    if any(answer.retry_after is None for answer in held_off):
        found.object("the gateway answered 503 without Retry-After")
    if held_off and not evidence.may_hold_off:
        found.object(f"the gateway answered 503 {len(held_off)} times while the database was there")
    for report in evidence.reports:
        if report.workflow_id is None or report.refusal:
            found.refused += 1
            found.object(f"login {report.event_id} was refused: {report.refusal}")


def _check_told(evidence: Evidence, ledger: Ledger, found: Findings) -> None:
    states = {workflow["id"]: workflow["state"] for workflow in ledger.workflows}
    known = sorted(states)
    asked = random.Random(0).sample(known, min(_ASKED, len(known)))
    for workflow, told in told_states(evidence.places, asked).items():
        state = states[workflow]
        if told != state and (state, told) != ("accepted", "running"):
            found.object(f"workflow {workflow} is {state}, but the gateway says {told}", workflow)


def _check_dead_letters(evidence: Evidence, ledger: Ledger, found: Findings) -> None:
    """The message of each step that was given up is kept; that of no other."""
    given_up = {
        (f"{step['queue']}.dead", step["id"]): step
        for step in ledger.all_steps
        if step["state"] in ("failed", "dead")
    }
    there = _dead_letters(evidence, set(given_up))
    for key, step in given_up.items():
        if key not in there:
            found.miss(f"{key[0]} has not kept the message of {key[1]}", step["workflow_id"])
    for (queue, step_id), count in there.items():
        if (queue, step_id) not in given_up:
            found.object(f"{queue} holds the message of {step_id}, which was not given up")
        elif count > 1:
            _judge_copies(evidence, given_up[queue, step_id], count - 1, found)


def _dead_letters(evidence: Evidence, awaited: set[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """What the dead-letter queues hold; the broker moves a message there, and counts it, a little later."""
    deadline = time.monotonic() + _QUEUES_SECONDS
    while True:
        kept = evidence.places.broker.dead_letters()
        there = Counter((queue, step) for queue, steps in kept.items() for step in steps)
        if awaited <= set(there) or time.monotonic() > deadline:
            return there
        time.sleep(_POLL_SECONDS)


def _judge_copies(evidence: Evidence, step: Row, extra: int, found: Findings) -> None:
    """A message whose confirm was late is published again, and its copy is given up as well."""
    excuses = copies(evidence.disturbances, step)
    found.repeated += min(extra, excuses)
    if extra > excuses:
        found.double(f"{step['id']} has {extra + 1} dead letters", step["workflow_id"])


def tell_steps(ledger: Ledger, workflows: Iterable[str]) -> list[str]:
    lines = []
    for workflow in workflows:
        steps = ledger.steps[workflow]
        began = min((step["ready_at"] for step in steps if step["ready_at"]), default=0.0)
        lines.append(
            f"workflow {workflow}, first ready at {began:.3f}; times are seconds after that"
        )
        lines += [_describe(step, began) for step in steps]
    return lines


def _describe(step: Row, began: float) -> str:
    times = {
        name: round(step[f"{name}_at"] - began, 3)
        for name in ("ready", "published", "started", "finished")
        if step[f"{name}_at"] is not None
    }
    counts = {
        name: step[name]
        for name in ("attempts", "retries", "redeliveries", "republished")
        if step[name]
    }
    trace = (step["traceback"] or "").strip().splitlines()[-1:]
    return f"  {step['state']:<9}{step['task']:<32}{step['id']} {counts} {times} {' '.join(trace)}"
