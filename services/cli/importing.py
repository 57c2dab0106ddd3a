"""`doorbell logins import`: reports the logins of a file to the gateway, one JSON object a line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import requests

from services.domain.errors import Refused, Unavailable

BATCH = 200
LOGIN_BYTES = 64 * 1024
"""The gateway takes no larger login."""

_BATCH_BYTES = 2 * 1024 * 1024
_ANSWER_SECONDS = 60
_TRIES = 30


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that was not accepted, and why."""

    line: int
    event_id: str | None
    reason: str


@dataclass(slots=True)
class Import:
    """What became of the lines. Those known before were accepted by an earlier import."""

    accepted: int = 0
    refused: list[RefusedLine] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {"accepted": self.accepted, "refused": [asdict(each) for each in self.refused]}


def import_logins(
    lines: Iterable[str],
    gateway: str,
    api_key: str,
    on_batch: Callable[[int], None],
) -> Import:
    """Report every line; one that is refused stops no other. Importing a file again is harmless.

    on_batch: told how many more logins were answered.

    Raises:
        Refused: the gateway takes none of it, such as for a wrong key.
        Unavailable: the gateway does not answer, or sheds load for longer than a minute.
    """
    outcome = Import()
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {api_key}"
        for batch in _batches(_readable(lines, outcome)):
            results = _post(session, f"{gateway.rstrip('/')}/v1/logins:batch", batch)
            for (number, _), result in zip(batch, results, strict=True):
                if result["status"] == 202:
                    outcome.accepted += 1
                else:
                    reason = _reason(result["problem"])
                    outcome.refused.append(RefusedLine(number, result.get("event_id"), reason))
            on_batch(len(batch))
    outcome.refused.sort(key=lambda each: each.line)
    return outcome


def _readable(lines: Iterable[str], outcome: Import) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if len(line) > LOGIN_BYTES:
            outcome.refused.append(RefusedLine(number, None, "is larger than 64 KiB"))
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            outcome.refused.append(RefusedLine(number, None, f"is not JSON: {error}"))
        else:
            yield number, value


def _batches(items: Iterator[tuple[int, Any]]) -> Iterator[list[tuple[int, Any]]]:
    batch: list[tuple[int, Any]] = []
    size = 0
    for item in items:
        batch.append(item)
        size += len(json.dumps(item[1]))
        if len(batch) == BATCH or size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _post(session: requests.Session, url: str, batch: list[tuple[int, Any]]) -> list[Any]:
    logins = [login for _, login in batch]
    for _ in range(_TRIES):
        try:
            answer = session.post(url, json={"logins": logins}, timeout=_ANSWER_SECONDS)
        except (requests.ConnectionError, requests.Timeout) as error:
            raise Unavailable(f"the gateway at {url} does not answer: {error}") from error
        if answer.status_code in (200, 207):
            results: list[Any] = answer.json()["results"]
            return results
        if answer.status_code != 503:
            break
        time.sleep(float(answer.headers.get("Retry-After", "2")))
    else:
        raise Unavailable(f"the gateway at {url} takes no logins now: {answer.text[:300]}")
    raise Refused(f"the gateway answered {answer.status_code}: {_reason(_problem(answer))}")


def _problem(answer: requests.Response) -> dict[str, Any]:
    try:
        value = answer.json()
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"title": answer.text[:300]}


def _reason(problem: dict[str, Any]) -> str:
    errors = "; ".join(
        f"{each['field'] or 'the login'}: {each['message']}" for each in problem.get("errors") or ()
    )
    return errors or str(problem.get("detail") or problem.get("title"))
