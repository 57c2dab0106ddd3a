"""Reports the sample logins to the gateway as an application would, and waits for what becomes of them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import requests

from deploy.local import samples
from deploy.local.layout import Layout
from deploy.local.process import ClusterError
from deploy.local.progress_bar import ProgressBar
from deploy.local.summary import Ledger, Progress, what_happened, where_to_look

_BATCH = 50
_UNFINISHED = 150
"""So many logins are at most under way: latency is then measured, not the length of a queue."""
_POLL_SECONDS = 0.2
_STALLED_SECONDS = 60.0
_REPLAY_FOR = timedelta(days=1)
"""How long the same logins are sent again; after that they would be old news, and new ones are made."""
_ANSWER_SECONDS = 30.0
_TRIES = 10


@dataclass(frozen=True, slots=True)
class _Answers:
    """What the gateway said. `known`: accepted by an earlier replay, and ended since."""

    workflows: tuple[str, ...]
    known: int
    refused: tuple[str, ...]


def run(layout: Layout) -> int:
    """Replay, wait, and print what happened; returns 0 when every sample login ended done."""
    endpoints: dict[str, str] = json.loads(layout.endpoints.read_text())
    logins = list(_logins(layout))
    with psycopg.connect(endpoints["database_url"], autocommit=True) as connection:
        ledger = Ledger(connection, [login["event_id"] for login in logins])
        with ProgressBar(len(logins)) as bar:
            answers = _report(endpoints, logins, ledger, bar)
            progress = _wait(ledger, len(answers.workflows), bar)
        print(f"\nWhat happened to {len(logins):,} sample logins")
        print(what_happened(progress, ledger.outcome(), ledger.levels()))
    if answers.known:
        print(
            f"  {answers.known:,} were done before: known by their event_id, nothing was done twice"
        )
    for reason in sorted(set(answers.refused))[:5]:
        print(f"  refused: {reason}")
    print("\nWhere to look")
    print(where_to_look(layout, endpoints, logins[-1]["user_id"], answers.workflows[-1]))
    return 0 if progress.done == len(logins) else 1


def _logins(layout: Layout) -> Sequence[dict[str, Any]]:
    """The sample logins, the very same ones for a day: a second replay asks for nothing new."""
    path = layout.state / "replay.json"
    now = datetime.now(UTC)
    began = datetime.fromisoformat(json.loads(path.read_text())["began"]) if path.exists() else None
    if began is None or now - began > _REPLAY_FOR:
        began = now
        path.write_text(json.dumps({"began": began.isoformat()}) + "\n")
    return list(samples.load(began))


def _report(
    endpoints: dict[str, str], logins: Sequence[dict[str, Any]], ledger: Ledger, bar: ProgressBar
) -> _Answers:
    workflows: list[str] = []
    refused: list[str] = []
    known = 0
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {endpoints['api_key']}"
        for start in range(0, len(logins), _BATCH):
            batch = logins[start : start + _BATCH]
            for result in _post(session, f"{endpoints['gateway']}/v1/logins:batch", batch):
                if result["status"] == 202:
                    workflows.append(result["workflow_id"])
                    known += result["state"] in ("done", "failed", "dead")
                else:
                    refused.append(_reason(result["problem"]))
            _wait(ledger, len(workflows) - _UNFINISHED, bar)
    if not workflows:
        raise ClusterError(f"The gateway accepted none of the sample logins: {refused[0]}")
    return _Answers(tuple(workflows), known, tuple(refused))


def _post(
    session: requests.Session, url: str, logins: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Send one batch; while the gateway sheds load, as often as it asks for."""
    for _ in range(_TRIES):
        answer = session.post(url, json={"logins": logins}, timeout=_ANSWER_SECONDS)
        if answer.status_code in (200, 207):
            results: list[dict[str, Any]] = answer.json()["results"]
            return results
        if answer.status_code != 503:
            break
        time.sleep(float(answer.headers.get("Retry-After", "1")))
    raise ClusterError(f"The gateway answered {answer.status_code}: {answer.text[:500]}")


def _wait(ledger: Ledger, ended: int, bar: ProgressBar) -> Progress:
    """Return when so many workflows have ended.

    Raises:
        ClusterError: none ended for a minute.
    """
    last = -1
    moved = time.monotonic()
    while True:
        progress = ledger.progress()
        bar.show(progress)
        if progress.ended >= ended:
            return progress
        if progress.ended != last:
            last, moved = progress.ended, time.monotonic()
        elif time.monotonic() - moved > _STALLED_SECONDS:
            raise ClusterError(
                f"{progress.accepted - progress.ended} workflows have not moved for {_STALLED_SECONDS:.0f} s: "
                "see `make status` and the logs"
            )
        time.sleep(_POLL_SECONDS)


def _reason(problem: dict[str, Any]) -> str:
    errors = problem.get("errors") or [{}]
    return " ".join(str(part) for part in (problem["detail"], *errors[0].values()))
