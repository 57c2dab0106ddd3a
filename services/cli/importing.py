"""`doorbell logins import`: has Doorbell learn from the logins of a file, by way of the gateway."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import requests

from services.cli.login_files import Line
from services.domain.errors import Refused, Unavailable

_ON_THEIR_WAY = 2
"""Portions. More would keep the gateway busier with them than with logins of now."""
_PORTION_LOGINS = 1_000
_PORTION_LINES = 10_000
"""Also of lines that are no logins: where they are many, the gateway hears of them too."""
_PORTION_BYTES = 2 * 1024 * 1024
_NAMED = 1_000
"""So many bad lines are named at most: a file of nothing else is not held in memory."""
_ANSWER_SECONDS = 60
_CONFLICT = 409
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
        return self.found | {
            "refused_lines": self.found.get("refused", 0),
            "refused": [asdict(each) for each in self.refused],
        }


class Importer:
    """Puts logins into an import, begins it, and waits for its end; whoever comes again with its key goes on.

    on_progress: told how far the import is.
    on_refused: told of each bad line that the outcome names, as soon as it is seen: who comes again does not see it.
    """

    def __init__(
        self,
        gateway: str,
        api_key: str,
        on_progress: Callable[[dict[str, Any]], None],
        on_refused: Callable[[RefusedLine], None] = lambda _: None,
    ) -> None:
        self.outcome = Outcome()
        self._url = gateway.rstrip("/")
        self._key = api_key
        self._on_progress = on_progress
        self._on_refused = on_refused
        self._session = requests.Session()
        self._session.auth = self._authenticate
        self._session.headers["Content-Type"] = "application/json"

    def run(self, key: str, lines: Iterable[Line]) -> Outcome:
        """Import every line; one that is refused stops no other. Importing a file again is harmless.

        key: the file's, by which an import that was broken off is found again.

        Raises:
            Refused: the gateway takes none of it, such as for a wrong key.
            Unavailable: the gateway does not answer, sheds load for longer than a minute, or nothing
                of the import is done for a quarter of an hour.
        """
        with self._session:
            opened = json.dumps({"key": key}).encode()
            self._see(self._call("POST", "/v1/imports", opened))
            if self.outcome.found["state"] == "uploading":
                self._upload(lines)
                self._see(self._call("POST", f"{self._path}/begin"))
            self._wait()
        return self.outcome

    @property
    def _path(self) -> str:
        return f"/v1/imports/{self.outcome.found['import_id']}"

    def _authenticate(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """In the way that ends `requests`' own search: what ~/.netrc has for the host would replace a header."""
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request

    def _see(self, found: dict[str, Any]) -> None:
        self.outcome.found = found
        self._on_progress(found)

    def _upload(self, lines: Iterable[Line]) -> None:
        """While one portion is stored the next one is checked, and one more is read."""
        after: int = self.outcome.found["line"]
        sent: deque[_Sent] = deque()
        with ThreadPoolExecutor(_ON_THEIR_WAY) as sender:
            for portion in _portions(line for line in lines if line.number > after):
                body = portion.body(after)
                self._note_first(sent, _ON_THEIR_WAY - 1)
                sent.append(_Sent(portion, body, sender.submit(self._put, body)))
                after = portion.line
            self._note_first(sent, 0)

    def _note_first(self, sent: deque[_Sent], most: int) -> None:
        """Until so many are on their way; none, where one has overtaken another: the next would do so too."""
        while len(sent) > most:
            if not self._note(sent.popleft()):
                most = 0

    def _put(self, body: bytes) -> dict[str, Any]:
        return self._call("POST", f"{self._path}/logins", body)

    def _note(self, sent: _Sent) -> bool:
        """Whether it came in its turn."""
        portion, is_in_turn = sent.portion, True
        try:
            answer = sent.answer.result()
        except _Elsewhere:
            # What it has overtaken is there by now.
            answer, is_in_turn = self._put(sent.body), False
        refused = [RefusedLine(**each) for each in answer["refused"]]
        bad = sorted([*portion.unreadable, *refused], key=lambda each: each.line)
        for each in bad[: max(0, _NAMED - len(self.outcome.refused))]:
            self.outcome.refused.append(each)
            self._on_refused(each)
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
        return is_in_turn

    def _wait(self) -> None:
        until = time.monotonic() + _LONGEST_WAIT_SECONDS
        while (before := self.outcome.found)["state"] in ("accepted", "running"):
            time.sleep(_POLL_SECONDS)
            self._see(self._call("GET", self._path))
            if self.outcome.found != before:
                until = time.monotonic() + _LONGEST_WAIT_SECONDS
            elif time.monotonic() > until:
                raise Unavailable(f"nothing is done: see doorbell trace {before['import_id']}")

    def _call(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        answer = self._ask(method, path, body)
        if answer.status_code in (200, 202):
            found: dict[str, Any] = answer.json()
            return found
        refused = _Elsewhere if answer.status_code == _CONFLICT else Refused
        raise refused(f"the gateway answered {answer.status_code}: {_reason(_problem(answer))}")

    def _ask(self, method: str, path: str, body: bytes | None) -> requests.Response:
        """An answer that is no 429 or 503: those are waited out as they say, and so is a gateway that is away."""
        url, problem = self._url + path, ""
        for _ in range(_TRIES):
            pause = _PAUSE_SECONDS
            try:
                answer = self._session.request(method, url, data=body, timeout=_ANSWER_SECONDS)
            except requests.exceptions.InvalidURL as error:
                raise Refused(f"{url} cannot be called: {error}") from error
            except requests.RequestException as error:
                problem = f"does not answer: {error}"
            else:
                if answer.status_code not in (429, 503):
                    return answer
                problem = f"takes no logins now: {answer.text[:300]}"
                pause = _seconds(answer.headers.get("Retry-After")) or pause
            time.sleep(pause)
        raise Unavailable(f"the gateway at {url} {problem}")


class _Elsewhere(Refused):
    """What was sent does not go on where the import is."""


@dataclass(slots=True)
class _Portion:
    """Lines that are put in together; `line` is the last one's number. logins: as JSON, with their lines."""

    logins: list[str] = field(default_factory=list)
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
            login = json.dumps({"line": line.number, "login": line.login})
            self.logins.append(login)
            self.size += len(login)

    @property
    def is_full(self) -> bool:
        lines = len(self.logins) + len(self.unreadable) + self.skipped
        return (
            len(self.logins) == _PORTION_LOGINS
            or self.size > _PORTION_BYTES
            or lines == _PORTION_LINES
        )

    def body(self, after: int) -> bytes:
        about = {
            "after": after,
            "line": self.line,
            "skipped": self.skipped,
            "unreadable": len(self.unreadable),
        }
        return f'{json.dumps(about)[:-1]}, "logins": [{", ".join(self.logins)}]}}'.encode()


@dataclass(frozen=True, slots=True)
class _Sent:
    """A portion that is on its way."""

    portion: _Portion
    body: bytes
    answer: Future[dict[str, Any]]


def _portions(lines: Iterable[Line]) -> Iterator[_Portion]:
    portion = _Portion()
    for line in lines:
        portion.add(line)
        if portion.is_full:
            yield portion
            portion = _Portion()
    if portion.line:
        yield portion


def _seconds(pause: str | None) -> int:
    """0: not said, or as a moment, such as by a proxy (RFC 9110)."""
    return int(pause) if pause and pause.isascii() and pause.isdigit() else 0


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
