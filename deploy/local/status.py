"""How each process of a local cluster is, as a table."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from deploy.local import cluster
from deploy.local.layout import Layout
from deploy.local.process import Process
from deploy.local.readiness import find_problem
from deploy.local.supervision import Supervisor


def show(layout: Layout) -> int:
    """Print the table; returns 0 when every process is well, else 1."""
    supervisor = Supervisor(layout)
    if not layout.ports.exists() or not supervisor.is_running():
        print("nothing runs: make up")
        return 1
    states = supervisor.states()
    is_well = True
    for process in cluster.read(layout).processes:
        state = states.get(process.name)
        problem = (
            find_problem(process, state["statename"]) if state else "is not known to the supervisor"
        )
        is_well = is_well and problem is None
        print(_row(process, state, problem))
    return 0 if is_well else 1


def _row(process: Process, state: dict[str, Any] | None, problem: str | None) -> str:
    is_running = state is not None and state["statename"] == "RUNNING"
    pid = str(state["pid"]) if state and is_running else "-"
    since = str(timedelta(seconds=state["now"] - state["start"])) if state and is_running else "-"
    return f"{process.name:<18} {pid:>8} {since:>16}  {problem or 'well':<6}  {process.address}".rstrip()
