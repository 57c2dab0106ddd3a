"""What the fleet's own Prometheus says."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from tests.hosts.installation import Installation


def value(installation: Installation, query: str) -> float | None:
    """The only value of a query; None when there is none."""
    rows = _ask(installation, query)
    assert len(rows) <= 1, f"{query} has {len(rows)} values"
    return float(rows[0]["value"][1]) if rows else None


LOADS_OWN = "WorkGivenUp"
"""What a run under load pages for, whatever else happens: some of its logins are refused by the API and receivers."""


def pages(installation: Installation, since: float) -> list[str]:
    """The names of the alerts that have woken somebody since then, in seconds since 1970, but for the load's own."""
    window = max(int(time.time() - since), 1)
    fired = f'ALERTS{{alertstate="firing", severity="page", alertname!="{LOADS_OWN}"}}[{window}s]'
    rows = _ask(installation, f"count by (alertname) (count_over_time({fired}))")
    return sorted(row["metric"]["alertname"] for row in rows)


def shown_since(installation: Installation, labels: Mapping[str, str]) -> float:
    """Since when the condition of an alert has been there without a pause, in seconds since 1970.

    Raises:
        AssertionError: there is no alert, or more than one, with these labels.
    """
    (found,) = (
        alert for alert in _get(installation, "alerts")["alerts"] if alert["labels"] == labels
    )
    return datetime.fromisoformat(found["activeAt"]).timestamp()


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
