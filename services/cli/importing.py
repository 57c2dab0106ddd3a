"""`doorbell logins import`: has Doorbell learn from the logins of a file, by way of the gateway."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import requests

from services.cli.login_files import Line
from services.domain.errors import Refused, Unavailable

BATCH = 200
_BATCH_BYTES = 2 * 1024 * 1024
_ANSWER_SECONDS = 60
_TRIES = 30
_PAUSE_SECONDS = 2.0
_LONGEST_WAIT_SECONDS = 900.0
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that was not accepted, and why."""

    line: int
    event_id: str | None
    reason: str


@dataclass(slots=True)
class Import:
    """What became of the lines. Those accepted were so by an earlier import too, where there was one.

    known: reported before, with more or less about them. skipped: logins that failed,
    and attackers'. line: all before it are answered or refused.
    """

    accepted: int = 0
    known: int = 0
    skipped: int = 0
    refused: list[RefusedLine] = field(default_factory=list)
    line: int = 0

    def as_json(self) -> dict[str, Any]:
        return {
            "accepted": self.accepted,
            "known": self.known,
            "skipped": self.skipped,
            "refused": [asdict(each) for each in self.refused],
        }


class Importer:
    """Reports logins as history; those that are under way are never more than so many, for who logs in meanwhile."""

    def __init__(self, gateway: str, api_key: str, most_under_way: int) -> None:
        self.outcome = Import()
        self._url = gateway.rstrip("/")
        self._most = most_under_way
        self._under_way: deque[tuple[str, int]] = deque()
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {api_key}"

    def run(self, lines: Iterable[Line], on_batch: Callable[[int], None]) -> Import:
        """Report every line; one that is refused stops no other. Importing a file again is harmless.

        on_batch: told how many more logins were answered.

        Raises:
            Refused: the gateway takes none of it, such as for a wrong key.
            Unavailable: the gateway does not answer, sheds load for longer than a minute, or what it
                took is not worked on for a quarter of an hour.
        """
        with self._session:
            for batch in _batches(self._readable(lines)):
                self._wait_for_room(len(batch))
                self._report(batch)
                self.outcome.line = batch[-1].number
                on_batch(len(batch))
        self.outcome.refused.sort(key=lambda each: each.line)
        return self.outcome

    def _readable(self, lines: Iterable[Line]) -> Iterator[Line]:
        for line in lines:
            if line.problem is not None:
                self.outcome.refused.append(RefusedLine(line.number, None, line.problem))
            elif line.is_skipped:
                self.outcome.skipped += 1
            else:
                yield line

    def _report(self, batch: list[Line]) -> None:
        accepted: list[str] = []
        for _ in range(_TRIES):
            batch = self._try(batch, accepted)
            if not batch:
                break
            time.sleep(_PAUSE_SECONDS)
        else:
            raise Unavailable(f"the gateway at {self._url} takes no logins now")
        self.outcome.accepted += len(accepted)
        if accepted:
            self._under_way.append((accepted[-1], len(accepted)))

    def _try(self, batch: list[Line], accepted: list[str]) -> list[Line]:
        """Report these; returns those of which the gateway says that it cannot take them now."""
        later = []
        results = self._post([line.login | {"history": True} for line in batch])
        for line, result in zip(batch, results, strict=True):
            if result["status"] == 202:
                accepted.append(result["workflow_id"])
            elif result["status"] == 409:
                self.outcome.known += 1
            elif result["status"] == 503:
                later.append(line)
            else:
                self._refuse(line, result)
        return later

    def _refuse(self, line: Line, result: dict[str, Any]) -> None:
        reason = _reason(result["problem"])
        self.outcome.refused.append(RefusedLine(line.number, result.get("event_id"), reason))

    def _wait_for_room(self, logins: int) -> None:
        """Wait until the last login of each of the earliest batches has ended, which was sent after its others."""
        until = time.monotonic() + _LONGEST_WAIT_SECONDS
        while self._under_way and sum(n for _, n in self._under_way) + logins > self._most:
            workflow_id, _ = self._under_way[0]
            if self._has_ended(workflow_id):
                self._under_way.popleft()
                until = time.monotonic() + _LONGEST_WAIT_SECONDS
            elif time.monotonic() > until:
                raise Unavailable(f"nothing ends: see doorbell trace {workflow_id}")
            else:
                time.sleep(_POLL_SECONDS)

    def _has_ended(self, workflow_id: str) -> bool:
        answer = self._ask("GET", f"/v1/workflows/{workflow_id}")
        return answer.status_code != 200 or answer.json()["state"] not in ("accepted", "running")

    def _post(self, logins: list[Any]) -> list[Any]:
        answer = self._ask("POST", "/v1/logins:batch", {"logins": logins})
        if answer.status_code in (200, 207):
            results: list[Any] = answer.json()["results"]
            return results
        raise Refused(f"the gateway answered {answer.status_code}: {_reason(_problem(answer))}")

    def _ask(self, method: str, path: str, body: Any = None) -> requests.Response:
        """An answer that is no 429 or 503: those are waited out as they say, and so is a gateway that is away."""
        url, problem = self._url + path, ""
        for _ in range(_TRIES):
            pause = _PAUSE_SECONDS
            try:
                answer = self._session.request(method, url, json=body, timeout=_ANSWER_SECONDS)
            except requests.exceptions.InvalidURL as error:
                raise Refused(f"{url} cannot be called: {error}") from error
            except requests.RequestException as error:
                problem = f"does not answer: {error}"
            else:
                if answer.status_code not in (429, 503):
                    return answer
                problem = f"takes no logins now: {answer.text[:300]}"
                pause = float(answer.headers.get("Retry-After", pause))
            time.sleep(pause)
        raise Unavailable(f"the gateway at {url} {problem}")


def _batches(lines: Iterator[Line]) -> Iterator[list[Line]]:
    batch: list[Line] = []
    size = 0
    for line in lines:
        batch.append(line)
        size += len(json.dumps(line.login))
        if len(batch) == BATCH or size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


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
