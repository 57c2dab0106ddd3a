"""What an operator's command asks of a running worker, as Celery's remote control carries it."""

from __future__ import annotations

from typing import Any

from celery.worker.control import control_command, inspect_command


@inspect_command()
def tell_process(state: Any) -> dict[str, Any]:
    """What this process is and what it is at."""
    told: dict[str, Any] = state.consumer.tell()
    return told


@control_command()
def read_drain(state: Any) -> dict[str, Any]:
    """Read in the ledger whether this process is drained, and act on it.

    What to do stands there and not in the command, which observers of the broker could send too.
    """
    return {"is_read": state.consumer.read_drain()}
