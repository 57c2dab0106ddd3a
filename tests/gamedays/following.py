"""Following a page about what operators do, and seeing that work goes on."""

from __future__ import annotations

import requests

from tests.e2e.logins import login_body
from tests.e2e.waiting import wait_until
from tests.gamedays.grounds import Grounds
from tests.gamedays.runbook import Place, read

END_SECONDS = 60.0
"""What a workflow that nothing holds up ends within, with time to spare."""

_TESTS_SECONDS = 900.0


def follow(
    ground: Grounds, name: str, section: str, place: Place = "local", /, **given: str
) -> str:
    """Run a section's commands; returns what they print. `given` stands where the page has a word in capitals."""
    scripts = read(name, ground.root / "deploy" / "runbooks").commands(section, place)
    assert scripts, f"{name} has no commands for {place} under {section}"
    wanted = "".join(scripts)
    for word, value in given.items():
        assert word in wanted, f"{name} has no {word}"
        wanted = wanted.replace(word, value)
    return ground.run(wanted, _TESTS_SECONDS)


def report(ground: Grounds, user: str, key: str | None = None) -> requests.Response:
    """Report a login of a user."""
    return requests.post(
        f"{ground.endpoints['gateway']}/v1/logins",
        json=login_body(user),
        headers={"Authorization": f"Bearer {key or ground.endpoints['api_key']}"},
        timeout=10,
    )


def wait_for(ground: Grounds, workflow: str, state: str = "done") -> None:
    """Wait until a workflow has ended as it should."""
    wait_until(
        lambda: ground.rows(f"SELECT state FROM workflow WHERE id = '{workflow}'") == [(state,)],
        END_SECONDS,
        f"workflow {workflow} to be {state}",
    )


def wait_for_canary(ground: Grounds) -> None:
    """Wait until one that was sent from now on has been through every queue."""
    [(before,)] = ground.rows("SELECT now()")
    wait_until(
        lambda: bool(ground.rows(f"SELECT 1 FROM canary WHERE returned_at > '{before}'")),
        END_SECONDS,
        "the canary",
    )
