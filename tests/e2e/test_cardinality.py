"""However many users there are and whatever they send, Prometheus keeps no more series of Doorbell's."""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from typing import Any

import pytest
import requests

from tests.e2e.application import Application
from tests.e2e.test_smoke import FIREFOX
from tests.e2e.waiting import wait_until

pytestmark = pytest.mark.timeout(240)

_USERS = 60
_SHOWN_SECONDS = 60.0
_MOST_VALUES = 40
"""Of one label: the topology's tasks with room to grow, and far from a number of users."""

_OF_PROMETHEUS = {"__name__", "instance", "job", "le"}
_OF_A_PERSON = re.compile(r"@|\d{1,3}(\.\d{1,3}){3}|[0-9a-f]{8}-[0-9a-f]{4}|[0-9a-f]{12}")


def test_labels_have_few_values_and_none_that_a_caller_chose(
    application: Application, endpoints: dict[str, str]
) -> None:
    """Users, events, agents, addresses of pages, and keys: nothing of it becomes a label."""
    mark = f"made-up-{uuid.uuid4().hex}"
    accepted = _counted(endpoints, "accepted")
    for number in range(_USERS):
        login = application.report(user_id=f"{mark}-{number}", user_agent=f"{FIREFOX} {mark}")
    for path in (f"/{mark}", f"/v1/users/{mark}/devices", f"/v1/workflows/{uuid.uuid4()}"):
        key = {"Authorization": f"Bearer {mark}"}
        assert (
            requests.get(f"{endpoints['gateway']}{path}", headers=key, timeout=10).status_code > 400
        )
    application.wait_for_end(login)
    wait_until(
        lambda: _counted(endpoints, "accepted") >= accepted + _USERS,
        _SHOWN_SECONDS,
        "Prometheus to have seen the logins",
    )

    values: dict[str, set[str]] = defaultdict(set)
    for series in _series(endpoints):
        for label in series.keys() - _OF_PROMETHEUS:
            values[label].add(series[label])
    assert len(values) > 5
    assert {label: len(found) for label, found in values.items() if len(found) > _MOST_VALUES} == {}
    told = [value for found in values.values() for value in found if _OF_A_PERSON.search(value)]
    assert [*told, *(value for found in values.values() for value in found if mark in value)] == []


def _series(endpoints: dict[str, str]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = _ask(
        endpoints, "series", {"match[]": '{__name__=~"(queue:)?doorbell_.+"}'}
    )
    return found


def _counted(endpoints: dict[str, str], outcome: str) -> float:
    query = f'sum(doorbell_logins_total{{outcome="{outcome}"}})'
    # Before the first scrape there is nothing.
    found: list[Any] = []

    def is_scraped() -> bool:
        found[:] = _ask(endpoints, "query", {"query": query})["result"]
        return bool(found)

    wait_until(is_scraped, _SHOWN_SECONDS, "Prometheus to have seen the gateway")
    return float(found[0]["value"][1])


def _ask(endpoints: dict[str, str], what: str, parameters: dict[str, str]) -> Any:
    answer = requests.get(f"{endpoints['prometheus']}/api/v1/{what}", params=parameters, timeout=10)
    answer.raise_for_status()
    return answer.json()["data"]
