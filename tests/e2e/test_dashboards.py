"""Every panel of the Grafana dashboards asks the running cluster's Prometheus something that it can answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from routing.load import load
from tests.e2e.logins import Logins
from tests.e2e.waiting import wait_until

pytestmark = pytest.mark.timeout(240)

DASHBOARDS = Path(__file__).resolve().parents[2] / "deploy" / "grafana" / "dashboards"

_RATE = 25.0
"""Logins a second: half of what one process of each pool does on two cores, with all that watches."""
_SHOWN_SECONDS = 60.0

# What Grafana itself fills in: at least four times the interval of scrapes.
_RATE_INTERVAL = "20s"

# Answered only while something is wrong, or where there is TLS: of these the language is tested, not an answer.
_MAY_BE_EMPTY = {"Alerts", "Certificate", "Waiting for their time"}


def panels() -> list[tuple[str, str, str]]:
    """Dashboard, panel and query, for each of the topology's pools where it is one of a pool."""
    found = []
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                query = target["expr"].replace("$__rate_interval", _RATE_INTERVAL)
                pools = load().pools if "$pool" in query else [""]
                found += [
                    (path.stem, panel["title"], query.replace("$pool", pool)) for pool in pools
                ]
    return found


@pytest.fixture(scope="module")
def busy(endpoints: dict[str, str]) -> Iterator[str]:
    """Prometheus' address, under a load at which workers have lists and queues are not empty."""
    with Logins(endpoints, rate=_RATE):
        yield endpoints["prometheus"]


@pytest.mark.parametrize(
    ("dashboard", "title", "query"), panels(), ids=lambda value: str(value)[:60]
)
def test_a_panels_query_is_answered(busy: str, dashboard: str, title: str, query: str) -> None:
    """Prometheus understands it, and has something to show."""
    if title in _MAY_BE_EMPTY:
        ask(busy, query)
    else:
        wait_until(
            lambda: bool(ask(busy, query)), _SHOWN_SECONDS, f"{title} of {dashboard}: {query}"
        )


def ask(prometheus: str, query: str) -> list[dict[str, Any]]:
    """The series that a query gives now."""
    answer = requests.get(f"{prometheus}/api/v1/query", params={"query": query}, timeout=10)
    assert answer.status_code == 200, answer.text
    result: list[dict[str, Any]] = answer.json()["data"]["result"]
    return result
