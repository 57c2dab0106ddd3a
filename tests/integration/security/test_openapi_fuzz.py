"""The gateway keeps its own OpenAPI document, whatever it is asked: no 5xx, no undocumented answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.gateway.door import KEYS, Door, login

# Two rules are left out where the document cannot say what is meant: an address or a time may be
# refused although its schema lets it in, and a batch answers for each of its logins by itself.
CONFIGURATION = """
[checks]
positive_data_acceptance.enabled = false

[[operations]]
include-name = "POST /v1/logins:batch"
checks.negative_data_rejection.enabled = false
"""
SECONDS = 90


def test_every_answer_is_as_documented(door: Door, tmp_path: Path) -> None:
    """Requests that keep the document and that break it, from a seed: status, headers, type and schema fit."""
    workflow_id = door.report(login(user_id="ada")).json()["workflow_id"]
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--no-color", "run"),
            *(f"{door.url}/openapi.json", "--seed", "3", "--max-examples", "8"),
            *("--header", f"Authorization: Bearer {KEYS['shop']}"),
            *("--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all"),
            *("--generation-deterministic", "--request-timeout", "20", "--warnings", "off"),
        ],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "22 selected / 22 total" in done.stdout
    assert door.read(f"/v1/workflows/{workflow_id}").json()["user_id"] == "ada"
