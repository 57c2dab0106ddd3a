"""Every alert has a page with what an operator looks for: commands a shell can read, queries Prometheus can."""

from __future__ import annotations

import re
import subprocess

import pytest

from services.ledger.dead_steps import GivenUpReason
from tests.contract.test_alerts import NAMES
from tests.gamedays import table
from tests.gamedays.faults import GAME_DAYS
from tests.gamedays.runbook import (
    CONTROLLER,
    PLACES,
    RUNBOOKS,
    SECTIONS,
    Page,
    Place,
    operations,
    pages,
    placed,
    read,
)

PAGES = pages()


def test_the_page_about_dead_letters_has_every_reason() -> None:
    """Whoever is sent there by `dead list` finds its word."""
    rows = re.findall(
        r"^\| (`\w+`(?:, `\w+`)*) \|",
        (RUNBOOKS / "replay-dead-letters.md").read_text(),
        re.MULTILINE,
    )
    explained = [word for row in rows for word in re.findall(r"\w+", row)]
    assert sorted(explained) == sorted(GivenUpReason)


def test_there_is_a_page_for_each_alert_and_none_besides() -> None:
    """A page of an alert that was renamed would be found by nobody."""
    assert [page.name for page in PAGES] == NAMES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_all_sections_in_order(page: Page) -> None:
    """Who is woken knows where to look."""
    assert tuple(page.sections) == SECTIONS
    assert all(text.strip() for text in page.sections.values())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_verify_can_be_asked(page: Page) -> None:
    """At least one query with what it has to answer."""
    assert page.conditions()


@pytest.mark.parametrize("alert", GAME_DAYS)
def test_what_has_a_game_day_is_mended_by_commands(alert: str) -> None:
    """Not by being thought about: somebody is tired."""
    assert read(alert).commands("Mitigation", "local")


def test_commands_and_conditions_are_those_of_the_alert() -> None:
    """Where a page has an example, its reader puts what he was told."""
    page = read("QueueStandsStill")
    labels = {"pool": "device_checks"}
    _, script = page.commands("Mitigation", "local", labels)
    assert "POOL=device_checks " in script
    assert "POOL=db_writes " in page.commands("Mitigation", "local")[1]
    [condition] = page.conditions(labels)
    assert 'pool="device_checks"' in condition.query
    with pytest.raises(KeyError):
        page.commands("Mitigation", "local", {"queue": "device_checks"})


def test_every_example_says_whose_it_is() -> None:
    """A variable without a word beside it is copied as it stands."""
    bare = [
        f"{page.name}: {line}"
        for page in PAGES
        for section in page.sections
        for place in PLACES
        for script in page.commands(section, place)
        for line in script.splitlines()
        if re.match(r"[A-Z]+=", line) and "   # the " not in line
    ]
    assert bare == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_for_hosts_says_on_which(page: Page) -> None:
    """Whoever is woken has a dozen of them to log in to."""
    for script in page.commands("Mitigation", "hosts"):
        assert placed(script)


def test_a_command_without_a_place_is_found() -> None:
    """What was said holds until a playbook, which is called elsewhere."""
    playbook = (
        ".venv-ansible/bin/ansible-playbook -i ansible/inventories/production ansible/site.yml"
    )
    script = f"POOL=a   # the alert's label\ntrue   # on the primary, if it is there\nfalse\n{playbook}\n"
    assert placed(script) == [
        ("the primary", "POOL=a   # the alert's label\ntrue   # on the primary, if it is there"),
        ("the primary", "POOL=a   # the alert's label\nfalse"),
        (CONTROLLER, f"POOL=a   # the alert's label\n{playbook}"),
    ]
    with pytest.raises(ValueError, match="true: where"):
        placed(f"{script}true\n")


@pytest.mark.parametrize("page", [*PAGES, *operations()], ids=lambda page: page.name)
def test_every_command_is_one_that_a_shell_can_read(page: Page) -> None:
    """`bash -n`: a quote that is missing is found here and not at night."""
    for section in page.sections:
        for place in PLACES:
            for script in page.commands(section, place):
                checked = subprocess.run(
                    ["bash", "-n"], check=False, input=script, text=True, capture_output=True
                )
                assert checked.returncode == 0, checked.stderr


def test_the_readme_has_a_row_for_every_page() -> None:
    """What is done by operators in the first table, game days in the second."""
    assert sorted(table.rows()) == NAMES
    doings = [path.name for path in RUNBOOKS.glob("*.md") if path.stem[0].islower()]
    linked = set(re.findall(r"\]\(([^)#:]+)", table.README.read_text()))
    assert linked >= set(doings)


def test_a_page_that_calls_playbooks_says_what_they_want() -> None:
    """Without its two variables Ansible complains about certificates in the inventory, and of no vault."""
    calling = [path for path in RUNBOOKS.glob("*.md") if "ansible-playbook -i" in path.read_text()]
    assert calling
    assert all("(README.md#on-the-controller)" in path.read_text() for path in calling)


def test_links_between_pages_lead_somewhere() -> None:
    """A page that was renamed takes its links with it."""
    broken = [
        f"{path.name}: {target}"
        for path in RUNBOOKS.glob("*.md")
        for target in re.findall(r"\]\(([^)#:]+)", path.read_text())
        if not (path.parent / target).exists()
    ]
    assert broken == []


def test_ci_takes_every_game_day_that_has_passed_in_its_turn() -> None:
    """By the table; one that was never seen to pass is tried by hand first."""
    turns = re.findall(r'alerts="([^"]+)"', (RUNBOOKS.parents[1] / ".ci" / "run").read_text())
    seen = [alert for alert, row in table.rows().items() if row.on != "not yet"]
    assert sorted(alert for turn in turns for alert in turn.split(" or ")) == sorted(
        alert for alert in seen if alert in GAME_DAYS
    )


@pytest.mark.parametrize("name", ["BrokerAlarm", "BrokerDiskSoonFull"])
def test_watermarks_are_put_back_to_what_is_configured(name: str) -> None:
    """Another number would leave the node with less room than it was meant to have."""
    deploy = RUNBOOKS.parent
    configured: dict[Place, str] = {
        "local": (deploy / "local" / "rabbitmq.conf.template").read_text(),
        "containers": (deploy / "docker" / "rabbitmq.conf").read_text(),
    }
    for place, text in configured.items():
        script = "".join(read(name).commands("Mitigation", place))
        [disk] = re.findall(r"^disk_free_limit.absolute = (\S+)$", text, re.MULTILINE)
        assert re.findall(r"set_disk_free_limit (\S+)$", script, re.MULTILINE) == [disk]
        memory = re.findall(r"^vm_memory_high_watermark.absolute = (\S+)$", text, re.MULTILINE)
        assert re.findall(r"watermark absolute (\S+)$", script, re.MULTILINE) == (
            memory if name == "BrokerAlarm" else []
        )


def test_commands_are_written_out() -> None:
    """Whoever copies a line at three in the morning has not read what a short form of it stood for."""
    short = [
        f"{path.name}: {line}"
        for path in sorted(RUNBOOKS.glob("*.md"))
        for line in path.read_text().splitlines()
        if re.match(r"\s*PLAY\b", line)
    ]
    assert short == []
