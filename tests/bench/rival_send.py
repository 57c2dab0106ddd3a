"""`python -m tests.bench.rival_send APP`: sends each login of standard input (JSON lines) by APP's `send`."""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module


def main() -> None:
    """Print the moment of the first send, in seconds since 1970, before it sends."""
    send = import_module(sys.argv[1]).send
    logins = [json.loads(line) for line in sys.stdin]
    print(time.time(), flush=True)
    for login in logins:
        send(login)


if __name__ == "__main__":
    main()
