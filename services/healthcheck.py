"""Says whether a process is well: `python -m services.healthcheck worker|beat|gateway|outlier-api`.

Exit code 0 with what it is at, or 1 with one line of why not. It asks neither broker nor database.
Alive is what a supervisor must know: the process moves, or waits on purpose for a broker or a
database that is away, and starting it again would not help. `--useful` asks for more: that it does
its work at this moment. Only the standard library, so that it costs a supervisor next to nothing.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from services import settings

USEFUL = ("consuming", "leading", "standing by")
"""What a worker, and beat, says of itself when it does what it is there for."""

_SILENCE_SECONDS = dict.fromkeys(("consuming", "not consuming", "draining", "stopping"), 15.0)
_LONGEST_SILENCE_SECONDS = 60.0
"""Between two attempts to connect, or two ticks of beat that find no broker."""

_ANSWER_SECONDS = 4.0
_PORTS = {"gateway": 8000, "outlier-api": 8010}


class Unwell(Exception):
    """Why the process is not well."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0: well; 1: not, and why; 2: wrong arguments."""
    environment = settings.environment()
    parser = argparse.ArgumentParser(prog="python -m services.healthcheck", description=__doc__)
    parser.add_argument("role", choices=("worker", "beat", *_PORTS))
    parser.add_argument("--useful", action="store_true", help="it must do its work right now")
    parser.add_argument(
        "--file",
        type=Path,
        default=environment.get("DOORBELL_HEARTBEAT_FILE"),
        help="a worker's or beat's heartbeat (default: DOORBELL_HEARTBEAT_FILE)",
    )
    parser.add_argument("--port", type=int, help="of the gateway or the outlier API")
    options = parser.parse_args(arguments)
    try:
        if options.role in _PORTS:
            own = environment.get("DOORBELL_LISTEN_PORT") if options.role == "gateway" else None
            print(
                _ask(options.role, options.port or int(own or _PORTS[options.role]), options.useful)
            )
        elif options.file is None:
            parser.error("name the process's heartbeat: DOORBELL_HEARTBEAT_FILE or --file")
        else:
            print(_read(options.file, options.useful))
    except Unwell as error:
        print(error)
        return 1
    return 0


def _read(file: Path, useful: bool) -> str:
    try:
        told = json.loads(file.read_text())
        age, state, trouble = monotonic() - told["at"], str(told["state"]), told["trouble"]
    except FileNotFoundError:
        raise Unwell(f"{file} is not there: the process has not started yet") from None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise Unwell(f"{file} cannot be read: {error}") from None
    if age < 0:
        raise Unwell(f"{file} is from before this machine's last start")
    if age > _SILENCE_SECONDS.get(state, _LONGEST_SILENCE_SECONDS):
        raise Unwell(f"{state}, but its loop has not turned for {age:.0f} seconds")
    if trouble:
        raise Unwell(f"{state}, but {trouble}")
    if useful and state not in USEFUL:
        raise Unwell(f"alive, but {state}")
    return f"{state}; its loop turned {age:.1f} seconds ago"


def _ask(role: str, port: int, useful: bool) -> str:
    path = "/readyz" if useful and role == "gateway" else "/healthz"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(300).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise Unwell(
            f"port {port} does not answer {path}: {error or type(error).__name__}"
        ) from None
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise Unwell(f"port {port} answers {answer.status} to {path}: {' '.join(body.split())}")
    return f"port {port} answers {path}"


if __name__ == "__main__":
    sys.exit(main())
