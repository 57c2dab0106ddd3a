"""One process of the local cluster: how it is started, stopped and asked whether it is well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Probe = Callable[[], None]
"""Returns when the process can do its work; raises any exception, with the reason, when it cannot."""


class ClusterError(Exception):
    """The cluster cannot do what was asked; the message says what to do about it."""


@dataclass(frozen=True, slots=True)
class Process:
    """A program for the supervisor.

    environment: all of it that is not the same for every process; secrets only as paths
        where the program can read them from files.
    stop_seconds: between the signal to stop and the kill.
    account: the user to run as, when the supervisor is root.
    address: what a person opens or connects to, for the status table.
    nice: how far it steps back for others while all processors are busy (nice(1)).
    """

    name: str
    command: tuple[str, ...]
    directory: Path
    probe: Probe
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = "TERM"
    stop_seconds: int = 10
    account: str | None = None
    address: str = ""
    nice: int = 0
