"""Places the stored sample logins relative to a moment, ready to be reported to the gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

LOGINS = Path(__file__).with_name("logins.jsonl")


def load(now: datetime, run_id: str | None = None, path: Path = LOGINS) -> Iterator[dict[str, Any]]:
    """The logins as the gateway takes them, oldest first; the youngest lies a minute before `now`.

    The same `now` and `run_id` give the same logins, event ids included; another run_id
    gives new logins of the same people. Without one the run is named after `now`.

    Raises:
        ValueError: `now` has no time zone.
    """
    if now.tzinfo is None:
        raise ValueError("now has no time zone: pass datetime.now(UTC)")
    moment = now.astimezone(UTC).replace(microsecond=0)
    run = run_id or moment.strftime("%Y%m%dT%H%M%SZ")
    for stored in read(path):
        login = {key: value for key, value in stored.items() if key not in ("offset", "kind")}
        login["event_id"] = f"{login['event_id']}-{run}"
        occurred_at = moment + timedelta(seconds=stored["offset"])
        login["occurred_at"] = occurred_at.isoformat().replace("+00:00", "Z")
        yield login


def read(path: Path = LOGINS) -> Iterator[dict[str, Any]]:
    """The logins as stored: `offset` in seconds before the replay (negative), `kind` as label."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
