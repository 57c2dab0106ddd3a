"""`doorbell logins import`: has Doorbell learn from the logins of a file, by way of the gateway."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import requests

from services.cli.login_files import Line
from services.domain.errors import Refused, Unavailable

_PORTION_LOGINS = 1_000
_PORTION_LINES = 10_000
"""Also of lines that are no logins: where they are many, the gateway hears of them too."""
_PORTION_BYTES = 2 * 1024 * 1024
_NAMED = 1_000
"""So many bad lines are named at most: a file of nothing else is not held in memory."""
_ANSWER_SECONDS = 60
_TRIES = 30
_PAUSE_SECONDS = 2.0
_LONGEST_WAIT_SECONDS = 900.0
_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that was not put in, and why."""

    line: int
    event_id: str | None
    reason: str


@dataclass(slots=True)
class Outcome:
    """How far the import is, as the gateway says, and the bad lines that were seen meanwhile, at most a thousand."""

    found: dict[str, Any] = field(default_factory=dict)
    refused: list[RefusedLine] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """All was taken in, and nothing was bad."""
        return self.found.get("state") == "done" and not self.found["refused"]

    def as_json(self) -> dict[str, Any]:
        refused = sorted(self.refused, key=lambda each: each.line)
        return self.found | {
            "refused_lines": self.found.get("refused", 0),
            "refused": [asdict(each) for each in refused],
        }


class Importer:
    """Puts logins into an import, begins it, and waits for its end; whoever comes again with its key goes on.

    on_progress: told how far the import is.
    """

    def __init__(
        self, gateway: str, api_key: str, on_progress: Callable[[dict[str, Any]], None]
    ) -> None:
        self.outcome = Outcome()
        self._url = gateway.rstrip("/")
        self._on_progress = on_progress
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {api_key}"

    def run(self, key: str, lines: Iterable[Line]) -> Outcome:
        """Import every line; one that is refused stops no other. Importing a file again is harmless.

        key: the file's, by which an import that was broken off is found again.

        Raises:
            Refused: the gateway takes none of it, such as for a wrong key.
            Unavailable: the gateway does not answer, sheds load for longer than a minute, or nothing
                of the import is done for a quarter of an hour.
        """
        with self._session:
            self._see(self._call("POST", "/v1/imports", {"key": key}))
            if self.outcome.found["state"] == "uploading":
                self._upload(lines)
                self._see(self._call("POST", f"{self._path}/begin"))
            self._wait()
        return self.outcome

    @property
    def _path(self) -> str:
        return f"/v1/imports/{self.outcome.found['import_id']}"

    def _see(self, found: dict[str, Any]) -> None:
        self.outcome.found = found
        self._on_progress(found)

    def _upload(self, lines: Iterable[Line]) -> None:
        """While one portion is on its way the next is read."""
        after: int = self.outcome.found["line"]
        sent: tuple[_Portion, Future[dict[str, Any]]] | None = None
        with ThreadPoolExecutor(1) as sender:
            for portion in _portions(line for line in lines if line.number > after):
                if sent:
                    self._note(*sent)
                body = portion.body(after)
                sent = portion, sender.submit(self._call, "POST", f"{self._path}/logins", body)
                after = portion.line
            if sent:
                self._note(*sent)

    def _note(self, portion: _Portion, sent: Future[dict[str, Any]]) -> None:
        refused = [RefusedLine(**each) for each in sent.result()["refused"]]
        bad = [*portion.unreadable, *refused]
        self.outcome.refused += bad[: max(0, _NAMED - len(self.outcome.refused))]
        found = self.outcome.found
        self._see(
            found
            | {
                "line": portion.line,
                "staged": found["staged"] + len(portion.logins) - len(refused),
                "skipped": found["skipped"] + portion.skipped,
                "refused": found["refused"] + len(bad),
            }
        )

    def _wait(self) -> None:
        until = time.monotonic() + _LONGEST_WAIT_SECONDS
        while (before := self.outcome.found)["state"] in ("accepted", "running"):
            time.sleep(_POLL_SECONDS)
            self._see(self._call("GET", self._path))
            if self.outcome.found != before:
                until = time.monotonic() + _LONGEST_WAIT_SECONDS
            elif time.monotonic() > until:
                raise Unavailable(f"nothing is done: see doorbell trace {before['import_id']}")

    def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = self._ask(method, path, body)
        if answer.status_code in (200, 202):
            found: dict[str, Any] = answer.json()
            return found
        raise Refused(f"the gateway answered {answer.status_code}: {_reason(_problem(answer))}")

    def _ask(self, method: str, path: str, body: Any) -> requests.Response:
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


@dataclass(slots=True)
class _Portion:
    """Lines that are put in together; `line` is the last one's number."""

    logins: list[dict[str, Any]] = field(default_factory=list)
    unreadable: list[RefusedLine] = field(default_factory=list)
    skipped: int = 0
    line: int = 0
    size: int = 0

    def add(self, line: Line) -> None:
        self.line = line.number
        if line.problem is not None:
            self.unreadable.append(RefusedLine(line.number, None, line.problem))
        elif line.is_skipped:
            self.skipped += 1
        else:
            self.logins.append({"line": line.number, "login": line.login})
            self.size += len(json.dumps(line.login))

    @property
    def is_full(self) -> bool:
        lines = len(self.logins) + len(self.unreadable) + self.skipped
        return (
            len(self.logins) == _PORTION_LOGINS
            or self.size > _PORTION_BYTES
            or lines == _PORTION_LINES
        )

    def body(self, after: int) -> dict[str, Any]:
        return {
            "after": after,
            "line": self.line,
            "skipped": self.skipped,
            "unreadable": len(self.unreadable),
            "logins": self.logins,
        }


def _portions(lines: Iterable[Line]) -> Iterator[_Portion]:
    portion = _Portion()
    for line in lines:
        portion.add(line)
        if portion.is_full:
            yield portion
            portion = _Portion()
    if portion.line:
        yield portion


def _problem(answer: requests.Response) -> dict[str, Any]:
    try:
        value = answer.json()
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"title": answer.text[:300]}


def _reason(problem: dict[str, Any]) -> str:
    errors = "; ".join(
        f"{each['field'] or 'the request'}: {each['message']}"
        for each in problem.get("errors") or ()
    )
    return errors or str(problem.get("detail") or problem.get("title"))
