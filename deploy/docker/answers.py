"""A container's health check: whether an address answers, `answers.py URL` (http, or smtp for a mail server)."""

from __future__ import annotations

import smtplib
import sys
import urllib.request
from urllib.parse import urlsplit

_SECONDS = 4.0


def main(url: str) -> int:
    """Return 0 when it answers well; otherwise 1, with the reason where `docker inspect` shows it."""
    parts = urlsplit(url)
    try:
        if parts.scheme == "smtp":
            with smtplib.SMTP(parts.hostname or "", parts.port or 0, timeout=_SECONDS) as server:
                server.noop()
        else:
            # Without proxies: the address is this container's own.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            opener.open(url, timeout=_SECONDS).close()
    except OSError as error:
        print(f"{url} does not answer: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
