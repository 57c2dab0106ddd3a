"""Every alert says what to do, is tried both ways by promtool, and is kept back by what it needs."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from routing.alerts import DASHBOARDS as DASHBOARDS_LINK
from routing.alerts import RUNBOOKS as RUNBOOKS_LINK
from routing.load import load

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
TOPOLOGY = load()
ALERTMANAGER: dict[str, Any] = yaml.safe_load(
    (ROOT / "deploy/alertmanager/alertmanager.yml").read_text()
)
RULES: list[dict[str, Any]] = [
    rule
    for path in sorted((PROMETHEUS / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
NAMES = sorted({rule["alert"] for rule in ALERTS})


@functools.cache
def cases() -> dict[str, set[bool]]:
    """For each alert, whether promtool is told that it fires, and that it must not."""
    found: dict[str, set[bool]] = defaultdict(set)
    for path in (PROMETHEUS / "tests").glob("*.yml"):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test["alert_rule_test"]:
                found[case["alertname"]].add(bool(case["exp_alerts"]))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_has_a_case_in_which_it_fires_and_one_in_which_it_must_not(name: str) -> None:
    """A rule that never fires, or always, would pass every other check."""
    assert cases()[name] == {True, False}


def test_every_case_is_about_an_alert() -> None:
    """promtool takes a misspelled name for an alert that does not fire."""
    assert cases().keys() == set(NAMES)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_tells_the_person_who_is_woken(rule: dict[str, Any]) -> None:
    """How urgent, what and how much, what users feel, what to do, where to look."""
    annotations = rule["annotations"]

    assert re.fullmatch(r"([A-Z][a-z]+)+", rule["alert"])
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert annotations.keys() == {"summary", "description", "runbook", "dashboard"}
    assert annotations["runbook"] == f"{RUNBOOKS_LINK}/{rule['alert']}.md"
    assert annotations["dashboard"].startswith(f"{DASHBOARDS_LINK}/d/doorbell-")
    # That nobody consumes a queue has no number.
    assert "$value" in annotations["summary"] or rule["alert"] == "QueueWithoutConsumer"


def test_every_queue_has_each_alert_of_queues() -> None:
    """A queue that was added is watched like the others."""
    found: dict[str, set[str]] = defaultdict(set)
    for rule in ALERTS:
        if "queue" in rule["labels"]:
            found[rule["alert"]].add(rule["labels"]["queue"])

    assert found
    assert set(map(frozenset, found.values())) == {frozenset(TOPOLOGY.queues)}


def test_pools_are_those_of_the_topology() -> None:
    """An alert about a pool that is not there reaches nobody."""
    assert {rule["labels"]["pool"] for rule in ALERTS if "pool" in rule["labels"]} <= set(
        TOPOLOGY.pools
    )


def test_names_of_alerts_that_hold_others_back_are_right() -> None:
    """Alertmanager takes a misspelled name for an alert that has not come yet."""
    matchers = [
        matcher
        for rule in ALERTMANAGER["inhibit_rules"]
        for side in ("source_matchers", "target_matchers")
        for matcher in rule[side]
    ]
    named = {
        name
        for matcher in matchers
        if matcher.startswith("alertname")
        for name in re.findall(r"[A-Z]\w+", matcher)
    }

    assert named
    assert named <= set(NAMES)


def test_what_alerts_need_holds_them_back() -> None:
    """Each word of a `needs` has its rule, so that one fault is one page."""
    words = {word for rule in ALERTS for word in rule["labels"].get("needs", "").split()}
    held_back = {
        word
        for rule in ALERTMANAGER["inhibit_rules"]
        for matcher in rule["target_matchers"]
        for word in re.findall(r'^needs=~"\.\*(\w+)\.\*"$', matcher)
    }

    assert words == held_back


def test_every_severity_has_its_receiver() -> None:
    """What is urgent goes the default way, so that a severity that nobody knows does too."""
    route = ALERTMANAGER["route"]
    [page, other, ticket] = route["routes"]

    assert route["receiver"] == "page"
    assert (ticket["receiver"], ticket["matchers"]) == ("ticket", ['severity="ticket"'])
    assert page == {
        "receiver": "page",
        "matchers": ['alertname="AlertsNotDelivered"'],
        "continue": True,
    }
    assert other == {"receiver": "ticket", "matchers": page["matchers"]}
    assert [receiver["name"] for receiver in ALERTMANAGER["receivers"]] == ["page", "ticket"]


RUNBOOKS = ROOT / "deploy" / "runbooks"
HEADINGS = ["Meaning", "Impact", "Diagnosis", "Mitigation", "Verify"]
PAGES = sorted(path.stem for path in RUNBOOKS.glob("[A-Z]*.md") if path.stem != "README")


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    """Whoever is woken opens the file of that name; other pages are about operations."""
    assert PAGES == NAMES


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_it_is_what_to_do_and_when_it_is_over(name: str) -> None:
    """The same five headings in the same order; commands say for which installation they are."""
    text = (RUNBOOKS / f"{name}.md").read_text()
    places = set(re.findall(r"^```sh (.*)$", text, re.MULTILINE))

    assert re.findall(r"^# (.+)$", re.sub(r"(?ms)^```.*?^```$", "", text), re.MULTILINE) == [name]
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    assert places <= {"local", "containers", "hosts"}
    assert [
        link for link in re.findall(r"\]\(([^)]+\.md)\)", text) if not (RUNBOOKS / link).exists()
    ] == []
