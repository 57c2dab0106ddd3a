"""The committed dashboards are what their code writes, and what the alerts link to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from deploy.grafana.__main__ import DIRECTORY, dashboards
from routing.alerts import DASHBOARDS as DASHBOARDS_LINK
from routing.load import load

ROOT = Path(__file__).resolve().parents[2]
TOPOLOGY = load()


def committed() -> dict[str, dict[str, Any]]:
    """Each dashboard by its uid."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in DIRECTORY.glob("*.json")]
    return {board["uid"]: board for board in found}


def links() -> set[str]:
    """What the alerts' annotations name."""
    groups = [
        group
        for path in (ROOT / "deploy" / "prometheus" / "rules").glob("*.yml")
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    ]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    return {rule["annotations"]["dashboard"].removeprefix(DASHBOARDS_LINK) for rule in rules}


def test_the_committed_dashboards_are_current() -> None:
    """No file is missing, none is left over, and each has the text that it should have."""
    written = {path.name: path.read_text(encoding="utf-8") for path in DIRECTORY.glob("*.json")}
    assert written == dashboards(TOPOLOGY), "run: python -m deploy.grafana"


def test_every_link_of_an_alert_leads_to_a_dashboard() -> None:
    """To one that is there, and to a pool that it can show."""
    boards = committed()
    for link in links():
        split = urlsplit(link)
        uid = split.path.removeprefix("/d/")
        assert uid in boards, link
        variables = {each["name"]: each for each in boards[uid]["templating"].get("list", [])}
        for name, values in parse_qs(split.query).items():
            choices = variables[name.removeprefix("var-")]["query"].split(",")
            assert set(values) <= set(choices), link


def test_every_pool_can_be_chosen() -> None:
    """A pool of the topology is one of the variable's values."""
    [variable] = committed()["doorbell-pool"]["templating"]["list"]
    assert variable["query"].split(",") == list(TOPOLOGY.pools)


def test_every_panel_has_its_place() -> None:
    """Panels lie on Grafana's grid of 24 columns, and none covers another."""
    for uid, board in committed().items():
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert max(x for x, _ in cells) < 24, (uid, panel["title"])
            assert not cells & taken, (uid, panel["title"])
            taken |= cells
