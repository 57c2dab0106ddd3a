"""The `doorbell` command, which dies by SIGKILL at a point of a replay: `killed POINT ARGUMENTS...`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from services.cli.main import run
from services.ledger import dead_pass, store
from services.ledger.dead_letters import DeadLetters
from services.ledger.publisher import Publisher

POINTS = ("before_commit", "after_commit", "after_publish", "before_ack")


def _die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def _arm(point: str) -> None:
    """Put the kill where the next thing would be done."""
    if point == "before_commit":
        done = dead_pass.replay

        def replay(*arguments: Any) -> Any:
            done(*arguments)
            _die()

        dead_pass.replay = replay
    elif point == "after_commit":
        Publisher.publish = _die  # type: ignore[method-assign]
    elif point == "after_publish":
        store.mark_published = _die
    elif point == "before_ack":
        DeadLetters.acknowledge = _die  # type: ignore[method-assign]
    else:
        raise SystemExit(f"no such point: {point}")


if __name__ == "__main__":
    _arm(sys.argv[1])
    sys.exit(run(sys.argv[2:]))
