"""Ports for servers of tests that run side by side."""

from __future__ import annotations

import itertools
import os
import random
import socket

_FREE_RANGE = range(10_000, 20_000)
"""Below what Linux gives to outgoing connections, so that none has a port while its server starts or is down."""

_SHARES = 8


def _own_range() -> range:
    """The part of the range that this process takes from, of several that pytest-xdist runs."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return _FREE_RANGE[worker % _SHARES :: _SHARES]


_ports = itertools.cycle(sorted(_own_range(), key=lambda _: random.random()))


def free_port() -> int:
    """A port that nobody listens on at this moment, and that no other call is given soon."""
    for port in itertools.islice(_ports, len(_own_range())):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no port between {_FREE_RANGE.start} and {_FREE_RANGE.stop} is free")
