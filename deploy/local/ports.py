"""The ports of a local cluster: the usual ones when they are free, chosen once and remembered."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Mapping
from pathlib import Path

HOST = "127.0.0.1"

_FREE_RANGE = range(20000, 32000)
"""Below what Linux gives to outgoing connections, so that none of them takes a remembered port."""

_ATTEMPTS = 500


def is_free(port: int) -> bool:
    """Whether nothing listens on the port of the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def choose(path: Path, usual: Mapping[str, int | None], *, is_running: bool) -> dict[str, int]:
    """Return a port for every name in `usual`, and remember them in the file at `path`.

    A name keeps its remembered port. While the cluster is not running, one that
    something else has taken meanwhile is replaced. None as the usual port asks
    for any free one.
    """
    remembered: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    ports = {
        name: port
        for name, port in remembered.items()
        if name in usual and (is_running or is_free(port))
    }
    for name, port in usual.items():
        if name not in ports:
            taken = {*ports.values(), *(number for number in usual.values() if number)}
            is_usual_free = port is not None and port not in ports.values() and is_free(port)
            ports[name] = port if port is not None and is_usual_free else _any_free(taken)
    if ports != remembered:
        path.write_text(json.dumps(ports, indent=2, sort_keys=True) + "\n")
    return ports


def _any_free(taken: set[int]) -> int:
    for _ in range(_ATTEMPTS):
        port = random.choice(_FREE_RANGE)
        if port not in taken and is_free(port):
            return port
    raise OSError(f"no free port between {_FREE_RANGE.start} and {_FREE_RANGE.stop} was found")
