"""How given-up steps and what was done about them are shown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.markup import escape

from services.cli.amounts import counted, summed
from services.cli.output import console, print_table
from services.ledger.dead_letters import Letter
from services.ledger.dead_pass import Pass
from services.ledger.dead_steps import Dead, error_text
from services.ledger.message import Message
from services.ledger.replay import Operator

_LINES = 50
_ERROR_WIDTH = 80
_LONG = ("message", "traceback", "dead_letters", "blocked", "actions", "result")
_DONE = {"replay": "replayed", "resume": "replayed", "drop": "dropped"}


def as_row(dead: Dead, looked: bool) -> dict[str, Any]:
    """One given-up step as JSON. in_queue is null when its dead-letter queue was not looked into."""
    return {
        "id": dead.id,
        "task": dead.task,
        "queue": dead.queue,
        "state": dead.state,
        "reason": dead.reason,
        "error": dead.error,
        "given_up_at": dead.given_up_at,
        "workflow_id": dead.workflow_id,
        "tenant_id": dead.tenant_id,
        "user_id": dead.user_id,
        "attempts": dead.attempts,
        "generation": dead.generation,
        "in_ledger": dead.has_message,
        "in_queue": len(dead.letters) if looked else None,
    }


def print_list(deads: Sequence[Dead], looked: Mapping[str, bool]) -> None:
    """A table with one line for each step."""
    print_table(
        ("ID", "TASK", "QUEUE", "STATE", "REASON", "AGE", "MESSAGE", "WORKFLOW", "ERROR"),
        [
            (
                dead.id,
                dead.task or "?",
                dead.queue,
                dead.state,
                dead.reason or "",
                _age(dead.given_up_at),
                _where(dead, looked.get(dead.queue or "", False)),
                dead.workflow_id,
                (dead.error or "")[:_ERROR_WIDTH],
            )
            for dead in deads
        ],
    )


def _where(dead: Dead, looked: bool) -> str:
    places = [*(["queue"] if dead.letters else []), *(["ledger"] if dead.has_message else [])]
    return "+".join(places) or ("nowhere" if looked else "?")


def _age(moment: datetime | None) -> str:
    if moment is None:
        return ""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"


def as_detail(row: Mapping[str, Any] | None, letters: Sequence[Letter]) -> dict[str, Any]:
    """All that is known of one step or message, with bodies decoded."""
    known: dict[str, Any] = (
        {**row} if row else {"id": letters[0].id, "queue": letters[0].queue, "state": "unknown"}
    )
    if row and row["message"] is not None:
        message = Message.from_json(row["message"])
        known["message"] = {**row["message"], "body": _decoded(message.body.encode())}
    if row:
        known["error"] = error_text(row["result"]) if row["state"] != "done" else None
        known["result"] = _decoded(row["result"].encode()) if row["result"] else None
    known["dead_letters"] = [
        {
            "queue": letter.queue,
            "cause": letter.cause,
            "died_at": letter.died_at,
            "generation": letter.generation,
            "unreadable": letter.unreadable,
            "headers": _with_text_names(letter.headers),
            "body": _decoded(letter.body),
        }
        for letter in letters
    ]
    return known


def print_detail(detail: Mapping[str, Any]) -> None:
    """The same for a terminal: what is short first, then traceback and messages."""
    out = console()
    for key, value in detail.items():
        if key not in _LONG and value not in (None, ""):
            out.print(f"[bold]{key}[/bold] {escape(str(value))}")
    for step in detail.get("blocked") or ():
        out.print(f"[bold]blocked behind it[/bold] {escape(step['task'] or '?')} {step['id']}")
    for action in detail.get("actions") or ():
        told = f"by {action['actor']}, {action['acted_at']:%Y-%m-%d %H:%M:%S %Z}"
        out.print(
            f"[bold]{action['action']}[/bold] {escape(told)}, generation {action['generation']}"
        )
    for title, text in _long_parts(detail):
        out.print(f"[bold]{title}[/bold]\n{escape(text)}")
    if not detail["dead_letters"]:
        out.print("[bold]its message[/bold] is in no dead-letter queue that can be seen now")


def _long_parts(detail: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if detail.get("traceback"):
        yield "traceback", detail["traceback"]
    if detail.get("message"):
        yield "message in the ledger", _json(detail["message"])
    for letter in detail["dead_letters"]:
        yield f"message in {letter['queue']}.dead ({letter['cause']})", _json(letter)


def as_outcome(result: Pass, operator: Operator, dry_run: bool) -> dict[str, Any]:
    """What a pass did, as JSON."""
    return {
        "action": operator.action,
        "dry_run": dry_run,
        "done": [
            {"id": d.id, "task": d.task, "queue": d.queue, "workflow_id": d.workflow_id}
            for d in (acted.dead for acted in result.done)
        ],
        "problems": [
            {"id": acted.dead.id, "task": acted.dead.task, "problem": acted.problem}
            for acted in result.problems
        ],
        "left_to_the_relay": result.unsent,
        "stale_cleared": result.cleared,
    }


def print_outcome(result: Pass, operator: Operator, dry_run: bool) -> None:
    """What a pass did: each step when they are few, else by task; every problem."""
    word = _DONE[operator.action]
    done = [acted.dead for acted in result.done]
    verb = f"would be {word}" if dry_run else word
    if len(done) <= _LINES:
        for dead in done:
            named = f"{dead.id} {dead.task or '?'} ({dead.reason})"
            console().print(f"{verb}: {escape(named)}")
    for acted in result.problems:
        told = f"{acted.dead.id} {acted.dead.task or ''}: {acted.problem}"
        console().print(f"[yellow]not {word}[/yellow]: {escape(told)}")
    tasks = f" ({summed([dead.task for dead in done])})" if done else ""
    console().print(f"{counted(len(done), 'step')} {verb}{escape(tasks)}")
    if result.unsent:
        console().print(f"{result.unsent:,} of their messages are left to the relay")
    if result.cleared:
        console().print(f"{counted(result.cleared, 'stale dead letter')} removed")


def _with_text_names(value: Any) -> Any:
    """The same with every name in it a text, as JSON wants them; AMQP's need not be."""
    if isinstance(value, Mapping):
        return {
            name if isinstance(name, str) else ascii(name): _with_text_names(each)
            for name, each in value.items()
        }
    return [_with_text_names(each) for each in value] if isinstance(value, list) else value


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="backslashreplace")


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=str)
