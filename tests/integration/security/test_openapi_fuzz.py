"""The gateway keeps its own OpenAPI document, whatever it is asked: no 5xx, no undocumented answer."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

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
# A part of the API at a time: all of it at once takes a busy machine longer than a test may.
PARTS = [("logins",), ("workflows", "health"), ("users", "imports"), ("incidents",)]
SECONDS = 90


@pytest.mark.parametrize("tags", PARTS, ids="-".join)
def test_every_answer_is_as_documented(door: Door, tmp_path: Path, tags: tuple[str, ...]) -> None:
    """Requests that keep the document and that break it, from a seed: status, headers, type and schema fit."""
    paths = door.read("/openapi.json").json()["paths"]
    operations = [operation for path in paths.values() for operation in path.values()]
    assert all(operation["tags"][0] in chain(*PARTS) for operation in operations)
    workflow_id = door.report(login(user_id="ada")).json()["workflow_id"]
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--no-color", "run"),
            *(f"{door.url}/openapi.json", "--seed", "3", "--max-examples", "8"),
            *(word for tag in tags for word in ("--include-tag", tag)),
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
    expected = sum(set(operation["tags"]) <= set(tags) for operation in operations)
    assert f"{expected} selected / {len(operations)} total" in done.stdout
    assert door.read(f"/v1/workflows/{workflow_id}").json()["user_id"] == "ada"
