"""What an operator's command asks of a running worker, as Celery's remote control carries it."""

from __future__ import annotations

from typing import Any

from celery.worker.control import control_command, inspect_command


@inspect_command()
def tell_process(state: Any) -> dict[str, Any]:
    """What this process is and what it is at."""
    told: dict[str, Any] = state.consumer.tell()
    return told


@control_command(args=[("queue", str)], signature="<queue>")
def add_consumer(state: Any, queue: str, **_: Any) -> dict[str, Any]:
    """Take from a queue of this pool again.

    Celery's own takes any queue, and the broker answers that with the connection's end, again and again.
    """
    own = state.consumer.own_queues
    if queue not in own:
        return {"error": f"this pool's queues are {', '.join(own)}"}
    state.consumer.call_soon(state.consumer.add_task_queue, queue)
    return {"ok": f"add consumer {queue}"}


@control_command()
def read_drain(state: Any) -> dict[str, Any]:
    """Read in the ledger whether this process is drained, and act on it.

    What to do stands there and not in the command, which observers of the broker could send too.
    """
    return {"is_read": state.consumer.read_drain()}
