"""What is written into docker-compose.yml, and that nothing else of it is touched."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from routing.compose import spliced
from services.domain.errors import ConfigurationError
from tests.unit.routing.small import GOOD, load_text

TEXT = """\
x-calling: &calling {A: "1"}
x-worker: &worker {environment: &worker-environment {B: "2"}}
services:
  # topology:begin workers
  old: {}
  # topology:end workers
  other: {image: other}  # by hand
secrets:
  # topology:begin broker users
  # topology:end broker users
  by_hand: {file: here}
"""


def test_a_pool_is_given_what_the_topology_says(tmp_path: Path) -> None:
    """Its secrets, each as a file that its setting names; longer to stop than its own grace."""
    wanted = GOOD.replace("secrets: []}\n  doors", "secrets: [smtp_url, outlier_api_key]}\n  doors")
    made = yaml.safe_load(spliced(TEXT, load_text(tmp_path, wanted)))
    bells, doors = (made["services"][f"worker-{pool}"] for pool in ("bells", "doors"))

    assert made["services"].keys() == {"worker-bells", "worker-doors", "other"}
    assert bells["stop_grace_period"] == "9s"
    assert bells["secrets"][1:] == ["database_url", "smtp_url", "outlier_api_key"]
    assert bells["environment"] == {
        "A": "1",
        "DOORBELL_SMTP_URL_FILE": "/run/secrets/smtp_url",
        "DOORBELL_OUTLIER_API_KEY_FILE": "/run/secrets/outlier_api_key",
    }
    assert doors["environment"] == {"B": "2"}
    assert list(made["secrets"]) == [
        *("broker_url_bells", "broker_url_doors", "broker_url_gateway", "by_hand")
    ]


def test_what_was_written_is_written_again_the_same(tmp_path: Path) -> None:
    """And what stands beside it stays to the letter."""
    topology = load_text(tmp_path, GOOD)
    once = spliced(TEXT, topology)

    assert spliced(once, topology) == once
    assert "  other: {image: other}  # by hand\n" in once


def test_a_marker_that_is_missing_is_named(tmp_path: Path) -> None:
    """Nothing is written into a place that nobody has marked."""
    text = TEXT.replace("  # topology:end workers\n", "")

    with pytest.raises(ConfigurationError, match="# topology:end workers"):
        spliced(text, load_text(tmp_path, GOOD))
