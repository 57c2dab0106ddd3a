"""Waiting until processes are well, and saying plainly which one is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import requests

from deploy.local.layout import Layout
from deploy.local.process import ClusterError, Process
from deploy.local.supervision import Supervisor

_PAUSE_SECONDS = 0.2
_SHOWN_LINES = 15
_HOPELESS_STARTS = 4
_TAKEN = ("Address already in use", "eaddrinuse")


def wait_until_ready(
    layout: Layout,
    supervisor: Supervisor,
    processes: Sequence[Process],
    seconds: float,
    say: Callable[[str], None],
) -> None:
    """Return when every process runs and its probe is content.

    Raises:
        ClusterError: after `seconds`, or as soon as one has ended again and again; the
            message names each process that is not well, why, and its last log lines.
    """
    deadline = time.monotonic() + seconds
    waiting = {process.name: process for process in processes}
    pids: dict[str, set[int]] = {name: set() for name in waiting}
    while waiting:
        states = supervisor.states()
        problems: dict[str, str] = {}
        for name, process in list(waiting.items()):
            pids[name].add(states[name]["pid"])
            problem = find_problem(process, states[name]["statename"])
            if problem is None:
                del waiting[name]
                say(f"{name} is ready  {process.address}".rstrip())
            else:
                problems[name] = problem
        is_hopeless = any(len(pids[name] - {0}) >= _HOPELESS_STARTS for name in waiting)
        if waiting and (is_hopeless or time.monotonic() > deadline):
            raise ClusterError(explain(layout, problems))
        if waiting:
            time.sleep(_PAUSE_SECONDS)


def find_problem(process: Process, state: str) -> str | None:
    """Say what is wrong with a process whose supervisor state is given; None when it is well."""
    if state != "RUNNING":
        return f"is {state.lower()}"
    try:
        process.probe()
    except Exception as error:  # noqa: BLE001  # whatever a probe meets is the answer, not a failure of ours
        return f"runs, but is not ready: {_reason(error)}"
    return None


def _reason(error: Exception) -> str:
    """A probe's failure in a line; of a door that is shut, libraries name a place in memory."""
    if isinstance(error, requests.ConnectionError) and error.request is not None:
        return f"nobody answers at {error.request.url}"
    if isinstance(error, ConnectionError):
        return f"nobody answers: {error.strerror}"
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def explain(layout: Layout, problems: dict[str, str]) -> str:
    """What is wrong with each process, with the end of its log; and what to do, where that is plain."""
    parts = []
    for name, problem in problems.items():
        log = layout.log(name)
        lines = log.read_text(errors="replace").splitlines()[-_SHOWN_LINES:] if log.exists() else []
        parts.append(
            "\n".join([f"{name} {problem}; the end of {log}:", *(f"    {line}" for line in lines)])
        )
    if any(words in part for part in parts for words in _TAKEN):
        parts.append(
            "somebody else has taken a port meanwhile, which is kept while the cluster runs:"
            " make down, then make up: other ports are chosen"
        )
    return "\n".join(parts)
