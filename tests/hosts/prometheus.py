"""What the fleet's own Prometheus says."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import quote

from tests.hosts.installation import Installation

LOADS_OWN = "WorkGivenUp"
"""What a run under load pages for, whatever else happens: some of its logins are refused by the API and receivers."""


def pages(installation: Installation, since: float) -> list[str]:
    """The names of the alerts that have woken somebody since then, in seconds since 1970, but for the load's own."""
    window = max(int(time.time() - since), 1)
    fired = f'ALERTS{{alertstate="firing", severity="page", alertname!="{LOADS_OWN}"}}[{window}s]'
    rows = _ask(installation, f"count by (alertname) (count_over_time({fired}))")
    return sorted(row["metric"]["alertname"] for row in rows)


def _ask(installation: Installation, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _get(installation, f"query?query={quote(query)}")["result"]
    return found


def _get(installation: Installation, question: str) -> dict[str, Any]:
    url = f"http://127.0.0.1:9090/api/v1/{question}"
    script = (
        f"import urllib.request; print(urllib.request.urlopen({url!r}, timeout=10).read().decode())"
    )
    found: dict[str, Any] = json.loads(
        installation.fleet.run("monitoring1", "python3", "-c", script)
    )["data"]
    return found
