"""`python -m tests.bench.rival_send APP`: sends logins (JSON lines) by APP's `send`, or lists by its `send_list`."""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from typing import Any


def main() -> None:
    """Print the moment of the first send, in seconds since 1970, before it sends."""
    app: Any = import_module(sys.argv[1])
    logins = [json.loads(line) for line in sys.stdin]
    if hasattr(app, "prepare"):
        app.prepare()
    print(time.time(), flush=True)
    if hasattr(app, "send_list"):
        for start in range(0, len(logins), app.LIST_SIZE):
            app.send_list(logins[start : start + app.LIST_SIZE])
    else:
        for login in logins:
            app.send(login)


if __name__ == "__main__":
    main()
