"""Gives the commands that an operator gives, in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.chaos.rig import Rig
from tests.support.fleet import ROOT

_SECONDS = 120


def doorbell(rig: Rig, *arguments: str) -> Any:
    """What `doorbell ... --json` prints; raises CalledProcessError when it fails."""
    command = (sys.executable, "-c", "from services.cli.main import main; main()")
    done = subprocess.run(
        [*command, *arguments, "--json"],
        env=rig.fleet.environment("operator"),
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        timeout=_SECONDS,
    )
    return json.loads(done.stdout)
