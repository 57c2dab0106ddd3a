"""Releases come and go while logins do: none is refused, lost or done twice, and a bad one takes itself back."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

from tests.hosts.conftest import PERMANENT
from tests.hosts.controller import PlaybookError
from tests.hosts.installation import Installation, Run
from tests.hosts.prometheus import pages
from tests.hosts.test_site import groups_of

pytestmark = pytest.mark.timeout(1800)

_WITH_PROCESSES = {"gateways", "pools", "schedulers", "outlier_apis"}


@pytest.fixture(scope="module")
def releases(directory: Path) -> dict[str, str]:
    """The releases that were made for this run."""
    dist = directory / "dist"
    return {
        "first": os.path.realpath(dist / "doorbell.tar"),
        "next": os.path.realpath(dist / "next" / "doorbell.tar"),
        "broken": os.path.realpath(dist / "broken" / "doorbell.tar"),
    }


def version(release: str) -> str:
    return Path(release).stem.removeprefix("doorbell-")


def versions(installation: Installation) -> set[str]:
    """The releases that run, as all hosts tell."""
    return {
        Path(installation.fleet.run(host, "readlink", "-f", "/opt/doorbell/current").strip()).name
        for host in PERMANENT
        if groups_of(host) & _WITH_PROCESSES
    }


def canary_key(installation: Installation) -> str:
    """A key for the login at the end of a deploy: of a tenant of its own, whose webhooks are no part of the run."""
    installation.fleet.ask("checks1", "doorbell", "tenant", "create", "canary", "Canary")
    told = installation.fleet.run("checks1", "doorbell", "key", "create", "canary", "--json")
    return str(json.loads(told)["api_key"])


def expect_unnoticed(run: Run) -> None:
    """No login met anything but a 202 at its first try."""
    run.expect_well()
    answers = [answer.status for report in run.reports for answer in report.answers]
    assert set(answers) == {202}
    assert len(answers) == len(run.reports)


def test_a_release_is_deployed(whole: Installation, releases: dict[str, str]) -> None:
    """Consumers, then producers, under load; afterwards every host runs the next release."""
    canary = canary_key(whole)
    began = time.time()
    with whole.under_load() as run:
        recap = whole.controller.play(
            "deploy", doorbell_release=releases["next"], doorbell_canary_key=canary
        )
    print(f"deploy.yml took {recap.seconds:.0f} s, with {run.found.accepted} logins meanwhile")
    expect_unnoticed(run)
    assert pages(whole, began) == []
    assert versions(whole) == {version(releases["next"])}


def test_it_is_rolled_back(whole: Installation, releases: dict[str, str]) -> None:
    """The release before runs again, and nobody outside has noticed."""
    began = time.time()
    with whole.under_load() as run:
        whole.controller.play("rollback")
    expect_unnoticed(run)
    assert pages(whole, began) == []
    assert versions(whole) == {version(releases["first"])}


def test_a_broken_release_takes_itself_back(whole: Installation, releases: dict[str, str]) -> None:
    """A pool that does not start ends the deploy, and hosts that were rolled already go back."""
    with (
        whole.under_load() as run,
        pytest.raises(PlaybookError, match="was not deployed, and every host"),
    ):
        whole.controller.play("deploy", doorbell_release=releases["broken"])
    expect_unnoticed(run)
    assert versions(whole) == {version(releases["first"])}


def half_a_deploy(installation: Installation, release: str, first: str) -> None:
    """The controller is lost between the last worker and beat."""
    installation.controller.break_off("deploy", "PLAY [Beat]", doorbell_release=release)
    assert versions(installation) == {version(first), version(release)}


def unlock(installation: Installation, playbook: str, **variables: object) -> None:
    """Do what the playbook says when the lock of a lost controller is still there."""
    refused = installation.controller.try_to_play(playbook, **variables)
    told = re.search(
        r"remove (\S+) on ([a-z0-9 ]+), and run it again", " ".join(refused.output.split())
    )
    assert refused.status
    assert told, refused.output[-3000:]
    for host in told[2].split(" and "):
        installation.fleet.run(host, "rm", told[1])


def test_a_deploy_that_was_broken_off_is_taken_back(
    whole: Installation, releases: dict[str, str]
) -> None:
    """Hosts that were not reached yet keep what they run, and the others go back to it."""
    with whole.under_load() as run:
        half_a_deploy(whole, releases["next"], releases["first"])
        unlock(whole, "rollback")
        whole.controller.play("rollback")
    expect_unnoticed(run)
    assert versions(whole) == {version(releases["first"])}


def test_a_deploy_that_was_broken_off_goes_on(
    whole: Installation, releases: dict[str, str]
) -> None:
    """Run again it ends; the way back leads to what ran before it began, not to half of it."""
    with whole.under_load() as run:
        half_a_deploy(whole, releases["next"], releases["first"])
        unlock(whole, "deploy", doorbell_release=releases["next"])
        whole.controller.play("deploy", doorbell_release=releases["next"])
        assert versions(whole) == {version(releases["next"])}
        whole.controller.play("rollback")
    expect_unnoticed(run)
    assert versions(whole) == {version(releases["first"])}


def test_a_host_is_taken_out_during_a_deploy(whole: Installation, releases: dict[str, str]) -> None:
    """It gets the release and sleeps; brought back, it runs what the others run."""
    host = "calls1"
    with whole.under_load() as run:
        with whole.controller.playing(
            "deploy", "PLAY [Workers]", doorbell_release=releases["next"]
        ):
            whole.controller.play("drain_host", host=host)
        assert awake(whole, host) == []
        assert versions(whole) == {version(releases["next"])}
        whole.controller.play("drain_host", host=host, undo=True)
        assert awake(whole, host)
        whole.controller.play("rollback")
    expect_unnoticed(run)
    assert versions(whole) == {version(releases["first"])}


def awake(installation: Installation, host: str) -> list[str]:
    """Doorbell's units that run on a host."""
    listed = installation.fleet.run(
        *(host, "systemctl", "list-units", "--plain", "--no-legend", "--state=running,start"),
        "doorbell-*.service",
    )
    return [line.split()[0] for line in listed.splitlines()]
