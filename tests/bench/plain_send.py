"""The plain side's producer: sends each login of standard input (JSON lines) by `.delay()`."""

from __future__ import annotations

import json
import sys
import time

from tests.bench.plain_app import workflow


def main() -> None:
    """Print the moment of the first send, in seconds since 1970, before it sends."""
    logins = [json.loads(line) for line in sys.stdin]
    print(time.time(), flush=True)
    for login in logins:
        workflow(login).delay()


if __name__ == "__main__":
    main()
