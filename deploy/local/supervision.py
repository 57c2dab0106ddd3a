"""The supervisor of a local cluster: its configuration file, its start and end, and talking to it."""

from __future__ import annotations

import configparser
import contextlib
import http.client
import os
import shlex
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable, Iterator
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from deploy.local import leftovers
from deploy.local.layout import Layout
from deploy.local.process import ClusterError, Process

_START_SECONDS = 20.0
_UPDATE_SECONDS = 60.0
_FATAL_AFTER_STARTS = 30
"""Failed starts in a row, each a second later than the one before, after which the supervisor gives up."""

_STOPPED = frozenset({"STOPPED", "EXITED", "FATAL"})


def configure(layout: Layout, processes: Iterable[Process]) -> None:
    """Write the supervisor's configuration. It contains secrets, so it is for the owner alone."""
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keep names as they are
    parser["unix_http_server"] = {"file": str(layout.supervisor_socket), "chmod": "0700"}
    parser["supervisord"] = {
        "logfile": str(layout.log("supervisord")),
        "pidfile": str(layout.supervisor_pid),
        "childlogdir": str(layout.logs),
    }
    if os.getuid() == 0:
        parser["supervisord"]["user"] = "root"
    parser["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    parser["supervisorctl"] = {"serverurl": f"unix://{layout.supervisor_socket}"}
    for process in processes:
        parser[f"program:{process.name}"] = _program(layout, process)
    path = layout.supervisor_configuration
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        parser.write(file)


class Supervisor:
    """The running supervisor of one cluster, if there is one."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def is_running(self) -> bool:
        """Whether it answers."""
        try:
            with self._connect() as remote:
                remote.getState()
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return False
        return True

    def start(self) -> None:
        """Start it in the background; no program is started yet.

        Raises:
            ClusterError: it does not answer in time.
        """
        log = self._layout.log("supervisord")
        command = [
            sys.executable,
            "-m",
            "supervisor.supervisord",
            "-c",
            str(self._layout.supervisor_configuration),
        ]
        # Programs inherit this: nothing of the caller's shell may leak into them.
        environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            **leftovers.mark(self._layout),
        }
        with log.open("ab") as output:
            subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self.is_running():
            if time.monotonic() > deadline:
                raise ClusterError(f"The supervisor does not start; its log is {log}")
            time.sleep(0.1)

    def update(self) -> None:
        """Take over a changed configuration: what changed or is gone is stopped and removed, what is new is known."""
        with self._connect() as remote:
            [[added, changed, removed]] = remote.reloadConfig()
            self.stop_programs([*changed, *removed], _UPDATE_SECONDS)
            for name in (*changed, *removed):
                remote.stopProcessGroup(name)
                remote.removeProcessGroup(name)
            for name in (*added, *changed):
                remote.addProcessGroup(name)

    def start_programs(self, names: Iterable[str]) -> None:
        """Start those that are not running, without waiting for them."""
        states = self.states()
        with self._connect() as remote:
            for name in names:
                if states[name]["statename"] in _STOPPED:
                    remote.startProcess(name, False)

    def states(self) -> dict[str, dict[str, Any]]:
        """What the supervisor knows of each program: statename, pid, start, now, spawnerr and more."""
        with self._connect() as remote:
            return {state["name"]: state for state in remote.getAllProcessInfo()}

    def stop_programs(self, names: Iterable[str], seconds: float) -> None:
        """Signal all of the programs at once, then wait until they have stopped."""
        names = set(names)
        with self._connect() as remote:
            for name, state in self.states().items():
                if name in names and state["statename"] not in _STOPPED:
                    remote.stopProcess(name, False)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            states = self.states()
            if all(states[name]["statename"] in _STOPPED for name in names & states.keys()):
                return
            time.sleep(0.1)

    def shut_down(self, seconds: float) -> None:
        """Tell it to stop every program and then itself, and wait for that."""
        with self._connect() as remote:
            remote.shutdown()
        deadline = time.monotonic() + seconds
        while (self.is_running() or leftovers.find(self._layout)) and time.monotonic() < deadline:
            time.sleep(0.1)

    @contextlib.contextmanager
    def _connect(self) -> Iterator[Any]:
        transport = SupervisorTransport(None, None, f"unix://{self._layout.supervisor_socket}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as server:
            yield server.supervisor


def _program(layout: Layout, process: Process) -> dict[str, str]:
    environment = ",".join(
        f'{name}="{value}"' for name, value in sorted(process.environment.items())
    )
    stepping_back = ("nice", "-n", str(process.nice)) if process.nice else ()
    options = {
        "command": shlex.join((*stepping_back, *process.command)),
        "directory": str(process.directory),
        "environment": environment,
        "autostart": "false",  # the order is the cluster's affair
        "autorestart": "true",
        "startsecs": "1",
        "startretries": str(_FATAL_AFTER_STARTS),
        "stopsignal": process.stop_signal,
        "stopwaitsecs": str(process.stop_seconds),
        "stopasgroup": "false",
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": str(layout.log(process.name)),
        "stdout_logfile_maxbytes": "20MB",
        "stdout_logfile_backups": "1",
    }
    if process.account:
        options["user"] = process.account
    return {key: value.replace("%", "%%") for key, value in options.items() if value}
