"""Flower in a browser: it asks for a password, finds a workflow's tasks, and lets viewers change nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from deploy.local.layout import REPOSITORY
from routing.load import load
from services.ledger.labels import is_shown, workflow_in
from services.observability.sampling import MOST_WORKFLOWS_PER_SECOND
from tests.e2e.application import Application
from tests.e2e.test_smoke import FIREFOX, new_user
from tests.e2e.waiting import wait_until

pytestmark = pytest.mark.timeout(180)

SHOWN_SECONDS = 30.0
# Faster than are shown, by a gateway that answers each of them within a second.
_BURST = 10 * int(MOST_WORKFLOWS_PER_SECOND)
_AT_ONCE = 2 * int(MOST_WORKFLOWS_PER_SECOND)
SHUT_DOWN = "shutdown"
# Those whose arguments or results name the workflow.
TASKS = {
    "device_checks.check_device",
    "notifications.notify_user",
    "db_writes.save_event",
    "external_api.score_login",
    "db_writes.apply_verdict",
}


def open_flower(browser: webdriver.Chrome, address: str) -> str:
    """Log in; returns the address without user and password, which pages' own calls must not have."""
    browser.get(address)
    scheme, _, rest = address.partition("://")
    bare = f"{scheme}://{rest.partition('@')[2]}"
    browser.get(bare)
    return bare


def rows(browser: webdriver.Chrome, table: str) -> list[list[str]]:
    """What stands in the lines of a table."""
    script = (
        "return [...document.querySelectorAll(arguments[0] + ' tbody tr')]"
        ".map(row => [...row.cells].map(cell => cell.textContent.trim()))"
    )
    found: list[list[str]] = browser.execute_script(script, table)
    return found


def online(browser: webdriver.Chrome) -> list[str]:
    """The workers that the first page shows as online."""
    return [cells[0] for cells in rows(browser, "#workers-table") if "Online" in cells]


def search_of(user: str, endpoints: dict[str, str]) -> str:
    """What `doorbell users show` tells to search for."""
    command = (sys.executable, "-c", "from services.cli.main import main; main()")
    addresses = {f"DOORBELL_{n.upper()}": endpoints[n] for n in ("database_url", "broker_url")}
    done = subprocess.run(
        [*command, "users", "show", user, "--json"],
        env=os.environ | addresses,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    [known] = json.loads(done.stdout)
    search: str = known["flower_search"]
    return search


def test_every_pool_is_there(
    browser: webdriver.Chrome, endpoints: dict[str, str], pictures: Path
) -> None:
    """Each of the topology's pools has a worker that is online."""
    open_flower(browser, endpoints["flower_viewers"])

    def pools() -> set[str]:
        return {worker.partition("@")[0] for worker in online(browser)}

    wait_until(lambda: pools() >= set(load().pools), SHOWN_SECONDS, "every pool to be online")
    assert browser.save_screenshot(str(pictures / "workers.png"))


def test_a_workflows_tasks_are_found(
    browser: webdriver.Chrome,
    endpoints: dict[str, str],
    application: Application,
    pictures: Path,
) -> None:
    """By its id and by its user, those of batch pools and of I/O pools, each succeeded; no others are among them."""
    user = new_user()
    workflow = application.report(user_id=user, user_agent=FIREFOX)
    application.wait_for_end(workflow)
    bare = open_flower(browser, endpoints["flower_viewers"])
    browser.get(f"{bare}/tasks")

    def shown(search: str) -> dict[str, str]:
        field = browser.find_element(By.CSS_SELECTOR, "input[type=search]")
        _type(field, search)
        return {cells[0]: cells[2] for cells in rows(browser, "#tasks-table") if len(cells) > 2}

    for search in (search_of(user, endpoints), f"kwargs:workflow={workflow}", workflow):
        wait_until(
            lambda search=search: shown(search) == dict.fromkeys(TASKS, "SUCCESS"),
            SHOWN_SECONDS,
            search,
        )
    assert browser.save_screenshot(str(pictures / "tasks.png"))


def listed(endpoints: dict[str, str]) -> list[dict[str, Any]]:
    """All tasks that Flower has."""
    answer = requests.get(f"{endpoints['flower']}/api/tasks", params={"limit": 20_000}, timeout=30)
    answer.raise_for_status()
    return list(answer.json().values())


def test_under_load_a_workflow_is_shown_whole_or_not_at_all(
    application: Application, endpoints: dict[str, str]
) -> None:
    """Half of a workflow would look as if it had stood still; and some are shown."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        reported = set(pool.map(lambda _: _report_one(endpoints), range(_BURST)))
    for workflow in reported:
        application.wait_for_end(workflow)
    lacking: dict[str, set[str]] = {}

    def all_are_whole() -> bool:
        shown: dict[str, set[str]] = {}
        for task in listed(endpoints):
            workflow = workflow_in(task["kwargs"])
            # Of the others there are steps that were tried again, alone.
            if workflow in reported and is_shown(task["kwargs"]):
                shown.setdefault(workflow, set()).add(task["name"])
        lacking.clear()
        lacking.update({workflow: TASKS - names for workflow, names in shown.items()})
        return bool(shown) and not any(lacking.values())

    wait_until(all_are_whole, SHOWN_SECONDS, lacking)
    assert len(lacking) < len(reported)


def _report_one(endpoints: dict[str, str]) -> str:
    with Application(endpoints["gateway"], endpoints["api_key"]) as application:
        return application.report(user_id=new_user(), user_agent=FIREFOX)


def test_viewers_have_no_button_that_ends_a_worker(
    browser: webdriver.Chrome, endpoints: dict[str, str]
) -> None:
    """Operators do."""
    texts = {}
    for name in ("flower", "flower_viewers"):
        bare = open_flower(browser, endpoints[name])
        # Until the workers are there, a row of words stands in their place.
        wait_until(lambda: bool(online(browser)), SHOWN_SECONDS, "the workers")
        worker = online(browser)[0]
        browser.get(f"{bare}/worker/{worker}")
        texts[name] = browser.page_source.lower()
    assert SHUT_DOWN in texts["flower"]
    assert SHUT_DOWN not in texts["flower_viewers"]


def _type(field: WebElement, text: str) -> None:
    if field.get_attribute("value") != text:
        field.clear()
        field.send_keys(text)
