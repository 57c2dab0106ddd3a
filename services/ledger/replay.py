"""Starts a new generation of given-up steps, or drops them: one transaction for a list of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from psycopg import Connection

from services.ledger.dead_canvas import (
    Behind,
    Leaf,
    behind_message,
    behind_signature,
    leaves_of,
    renewed,
)
from services.ledger.dead_steps import GIVEN_UP, WAITING, Dead, Row, is_stale, run
from services.ledger.message import Message

Action = Literal["replay", "resume", "drop"]


@dataclass(frozen=True, slots=True)
class Renewal:
    """A step that is to run again, as it was and with the message that will run it."""

    dead: Dead
    before: Row | None
    message: Message

    @property
    def generation(self) -> int:
        return int(self.message.headers["doorbell-generation"])

    @property
    def workflow_id(self) -> UUID | None:
        return self.before["workflow_id"] if self.before else None


@dataclass(frozen=True, slots=True)
class Acted:
    """One step and what became of it; `problem` says why nothing did."""

    dead: Dead
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Onto:
    """Another queue than the one in which a step was given up. does: whether its pool does a task."""

    queue: str
    does: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Operator:
    """Who acts, how it is called, and where messages enter the broker.

    onto: where replayed steps wait in place of their own queue; what comes behind them waits where it always does.
    """

    name: str
    action: Action
    work_exchange: str
    onto: Onto | None = None


def replay(
    connection: Connection[Any], deads: Sequence[Dead], operator: Operator, begun: set[UUID]
) -> tuple[list[Message], list[Acted]]:
    """Reopen these steps and all that waits for them; the caller commits, and then publishes.

    What was replayed meanwhile by somebody else, or has no message anywhere,
    stays as it is. Steps, joins and workflows are locked in the order in which
    workers lock them.

    begun: the workflows that this replay has given a new generation; added to.
    """
    rows = _locked(connection, deads)
    renewals: list[Renewal] = []
    acted: list[Acted] = []
    for dead in deads:
        answer = _renewal(dead, rows.get(dead.id), operator)
        if isinstance(answer, Renewal):
            renewals.append(answer)
        else:
            acted.append(Acted(dead, answer))
    appeared = _begin_again(connection, renewals)
    for renewal in renewals:
        is_ours = renewal.before is not None or renewal.dead.id in appeared
        acted.append(Acted(renewal.dead, None if is_ours else _CHANGED))
    renewals = [each for each in renewals if each.before is not None or each.dead.id in appeared]
    behind = {each.dead.id: behind_message(each.message) for each in renewals}
    step_ids = _reopen_joins(connection, behind.values())
    _reopen_steps(connection, renewals, {*behind, *step_ids}, begun)
    _note(connection, renewals, operator)
    return [each.message for each in renewals], acted


def problem_of(dead: Dead, row: Row | None) -> str | None:
    """Why a step cannot be replayed as it is; None when it can."""
    state = row["state"] if row else "unknown"
    if state == "done":
        return "it is done"
    if state in WAITING and not _has_given_up(dead, row):
        return f"it is {state}: it will be tried by itself, or somebody has replayed it"
    if state in ("planned", "blocked"):
        return f"it is {state}: replay what it waits for"
    readable = any(letter.message for letter in dead.letters)
    if readable or (row is not None and row["message"] is not None):
        return None
    told = next((letter.unreadable for letter in dead.letters if letter.unreadable), None)
    if told:
        return f"nobody can read its message: {told}"
    return (
        "its message is neither in the ledger nor in its dead-letter queue"
        " (unless another operator holds that at this moment)"
    )


def problem_of_replay(dead: Dead, row: Row | None, operator: Operator) -> str | None:
    """Why a step cannot be replayed as it is, or not onto the queue that is wanted; None when it can."""
    problem, onto = problem_of(dead, row), operator.onto
    if problem or onto is None:
        return problem
    task = (row["task"] if row else None) or dead.task
    if task is not None and onto.does(task):
        return None
    return f"{task or 'its task'} is not done by the pool of queue {onto.queue}: choose a queue of its own pool"


def _has_given_up(dead: Dead, row: Row | None) -> bool:
    """Whether a letter says what the ledger does not: that the broker gave up the step as it is now."""
    # While we held its letter, somebody else may have replayed the step from the ledger's copy.
    return any(not is_stale(letter, row) for letter in dead.letters)


def drop(connection: Connection[Any], deads: Sequence[Dead], operator: Operator) -> list[Acted]:
    """Mark these steps as dropped; once the caller has committed, their letters may go."""
    rows = _locked(connection, deads)
    acted = [Acted(dead, _problem_of_drop(dead, rows.get(dead.id))) for dead in deads]
    dropped = [each.dead for each in acted if each.problem is None]
    run(
        connection,
        "drop_steps",
        ids=[dead.id for dead in dropped],
        reasons=[dead.reason for dead in dropped],
    )
    _write_actions(connection, operator, [(dead, rows.get(dead.id), None) for dead in dropped])
    return acted


_CHANGED = "somebody else has it in hand at this moment"


def _problem_of_drop(dead: Dead, row: Row | None) -> str | None:
    if row is None:
        return None
    if row["state"] in WAITING and row["message"] is None and _has_given_up(dead, row):
        return None  # it waits for a message that is nowhere but among the dead letters
    if row["state"] not in GIVEN_UP:
        return f"it is {row['state']}: there is nothing to drop"
    return "it was dropped already" if row["dropped_at"] is not None else None


def _locked(connection: Connection[Any], deads: Sequence[Dead]) -> dict[str, Row]:
    rows = run(connection, "lock_dead", ids=[dead.id for dead in deads])
    return {row["id"]: row for row in rows}


def _renewal(dead: Dead, row: Row | None, operator: Operator) -> Renewal | str:
    """The message of a step's next generation, or why there is none."""
    problem = problem_of_replay(dead, row, operator)
    if problem:
        return problem
    # The original, as it was given up; the ledger's copy is as good when it was lost with a broker.
    message = next((letter.message for letter in dead.letters if letter.message), None)
    if message is None:
        if row is None or row["message"] is None:
            raise AssertionError("problem_of has looked for a message")
        message = Message.from_json(row["message"])
    own = dead.queue or (row["queue"] if row else None) or message.queue
    queue = operator.onto.queue if operator.onto else own
    generation = (row["generation"] if row else dead.generation) + 1
    return Renewal(dead, row, renewed(message, generation, operator.work_exchange, queue))


def _begin_again(connection: Connection[Any], renewals: Sequence[Renewal]) -> set[str]:
    """Write the new generation; returns the ids of steps that the ledger did not know."""
    known = [each for each in renewals if each.before is not None]
    new = [each for each in renewals if each.before is None]
    run(connection, "begin_again", **_columns(known))
    run(connection, "forget_limits", ids=[each.dead.id for each in known])
    rows = run(
        connection,
        "appear_again",
        roots=[each.message.headers.get("root_id") for each in new],
        parents=[each.message.headers.get("parent_id") for each in new],
        **_columns(new),
    )
    return {row["id"] for row in rows}


def _columns(renewals: Sequence[Renewal]) -> dict[str, list[Any]]:
    return {
        "ids": [each.dead.id for each in renewals],
        "tasks": [each.message.task for each in renewals],
        "queues": [each.message.queue for each in renewals],
        "messages": [each.message.to_json() for each in renewals],
        "generations": [each.generation for each in renewals],
    }


def _reopen_joins(connection: Connection[Any], behind: Iterable[Behind]) -> set[str]:
    """Take back the failures that were counted in joins, from the inner ones outwards.

    Returns the ids of all steps that may wait again, as the messages name them.
    """
    found = list(behind)
    step_ids = {step_id for each in found for step_id in each.step_ids}
    leaves = leaves_of(found)
    seen: set[Leaf] = set()
    while leaves:
        seen |= leaves
        bodies: Mapping[str, Any] = {leaf.join_id: leaf.body for leaf in leaves}
        joins = sorted(bodies)
        run(connection, "lock_blocked_joins", ids=joins)
        ordered = sorted(leaves, key=lambda leaf: (leaf.join_id, leaf.step_id))
        run(
            connection,
            "take_back_parts",
            joins=[leaf.join_id for leaf in ordered],
            steps=[leaf.step_id for leaf in ordered],
        )
        reopened = run(connection, "reopen_joins", ids=joins)
        following = [behind_signature(bodies[row["id"]]) for row in reopened]
        step_ids |= {step_id for each in following for step_id in each.step_ids}
        leaves = leaves_of(following) - seen
    return step_ids


def _reopen_steps(
    connection: Connection[Any],
    renewals: Sequence[Renewal],
    step_ids: set[str],
    begun: set[UUID],
) -> None:
    workflows = sorted({each.workflow_id for each in renewals if each.workflow_id is not None})
    run(connection, "reopen_steps", workflows=workflows, ids=sorted(step_ids))
    run(connection, "forget_blocked", ids=sorted(step_ids))
    if workflows:
        run(connection, "lock_dead_workflows", ids=workflows)
        new = [workflow for workflow in workflows if workflow not in begun]
        run(connection, "reopen_workflows", ids=workflows, new=new)
        begun.update(new)


def _note(connection: Connection[Any], renewals: Sequence[Renewal], operator: Operator) -> None:
    changes = [(each.dead, each.before, each.generation) for each in renewals]
    _write_actions(connection, operator, changes)


def _write_actions(
    connection: Connection[Any],
    operator: Operator,
    changes: Sequence[tuple[Dead, Row | None, int | None]],
) -> None:
    """The audit rows: each step as it was, and the generation that begins, or that was dropped."""
    run(
        connection,
        "note_actions",
        action=operator.action,
        actor=operator.name,
        ids=[dead.id for dead, _, _ in changes],
        workflows=[row["workflow_id"] if row else None for _, row, _ in changes],
        tasks=[dead.task for dead, _, _ in changes],
        queues=[dead.queue or "" for dead, _, _ in changes],
        reasons=[dead.reason for dead, _, _ in changes],
        generations=[generation or dead.generation for dead, _, generation in changes],
    )
