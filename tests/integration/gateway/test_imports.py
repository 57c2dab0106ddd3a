"""What the gateway says to whoever puts logins of before in."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from requests.adapters import HTTPAdapter

from services.cli import importing
from services.cli.importing import Importer
from services.cli.login_files import Line
from services.domain.errors import Refused
from tests.integration.adapters.servers import http_server
from tests.integration.gateway.door import KEYS, Door, login, wait_until

NOBODYS = "00000000-0000-4000-8000-000000000000"


def _ask(door: Door, path: str, body: Any = None, tenant: str = "shop") -> httpx.Response:
    return door.client(tenant).post(f"/v1/imports{path}", json=body)


def _opened(door: Door, key: str = "file-1") -> str:
    answer = _ask(door, "", {"key": key})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["import_id"])


def _portion(*logins: Any, after: int = 0, **more: Any) -> dict[str, Any]:
    numbered = [{"line": after + n, "login": each} for n, each in enumerate(logins, start=1)]
    return {"after": after, "line": after + max(1, len(logins)), "logins": numbered} | more


def test_a_bad_login_is_named_and_stops_no_other(door: Door) -> None:
    """By its line; history is what it is, however old, and failed ones are counted as the sender says."""
    import_id = _opened(door)
    old = login(occurred_at="2020-01-01T00:00:00Z", event_id="old")
    bad = login(ip="nowhere", event_id="bad")
    without = login(occurred_at="2021-01-01T00:00:00Z")
    del without["event_id"]
    nameless = login(user_id="..", event_id="nameless")
    portion = _portion(old, bad, without, nameless, skipped=4, unreadable=5)
    answer = _ask(door, f"/{import_id}/logins", portion)
    assert answer.status_code == 200
    refused = answer.json()["refused"]
    named = [(it["line"], it["event_id"]) for it in refused]
    assert named == [(2, "bad"), (3, None), (4, "nameless")]
    assert [it["reason"].partition(":")[0] for it in refused] == ["ip", "event_id", "user_id"]
    assert _ask(door, f"/{import_id}/logins", portion).json() == answer.json()
    found = door.read(f"/v1/imports/{import_id}").json()
    assert found == {
        "import_id": import_id,
        "state": "uploading",
        "line": 4,
        "staged": 1,
        "skipped": 4,
        "refused": 8,
        "accepted": 0,
        "known": 0,
        "unlearned": 0,
    }
    assert _opened(door) == import_id
    assert door.count("import_login") == 1


@pytest.mark.parametrize(
    ("numbers", "field"),
    [
        ((1, 1), "logins.1.line"),
        ((2, 1), "logins.1.line"),
        ((0,), "logins.0.line"),
        ((77,), "logins.0.line"),
    ],
)
def test_numbers_of_lines_that_do_not_rise_are_refused(
    door: Door, numbers: tuple[int, ...], field: str
) -> None:
    """Two logins of one line would be one: nothing of the portion is put in, and the field is named."""
    import_id = _opened(door)
    logins = [{"line": n, "login": login(event_id=f"e-{n}-{m}")} for m, n in enumerate(numbers)]
    answer = _ask(door, f"/{import_id}/logins", {"after": 0, "line": 2, "logins": logins})
    assert answer.status_code == 422, answer.text
    assert [each["field"] for each in answer.json()["errors"]] == [field]
    assert door.read(f"/v1/imports/{import_id}").json()["line"] == door.count("import_login") == 0


def test_a_field_that_an_import_has_not_is_named_as_one(door: Door) -> None:
    """Not as one that a login has not."""
    import_id = _opened(door)
    for path, body in (("", {"key": "a"}), (f"/{import_id}/logins", _portion(login()))):
        [error] = _ask(door, path, body | {"extra": 1}).json()["errors"]
        assert error["field"] == "extra"
        assert "is not a field of an import" in error["message"]


def test_an_import_begins_once(door: Door) -> None:
    """Its workflow has its id and is planned with it; afterwards nothing is added."""
    import_id = _opened(door)
    logins = [login(user_id=f"user-{n}") for n in range(900)]
    assert _ask(door, f"/{import_id}/logins", _portion(*logins)).json()["refused"] == []
    gap = _ask(door, f"/{import_id}/logins", _portion(login(), after=950))
    assert (gap.status_code, "up to line 900" in gap.json()["detail"]) == (409, True)
    assert door.count("workflow") == 0
    begun = [_ask(door, f"/{import_id}/begin") for _ in range(2)]
    assert [(it.status_code, it.json()["state"]) for it in begun] == [(202, "accepted")] * 2
    shown = door.read(f"/v1/workflows/{import_id}").json()
    assert [step["queue"] for step in shown["steps"]] == ["imports", "external_api", "imports"]
    late = _ask(door, f"/{import_id}/logins", _portion(login(), after=900))
    assert (late.status_code, "has begun" in late.json()["detail"]) == (409, True)


def test_an_import_of_nothing_can_begin(door: Door) -> None:
    """It has nothing to do but to sum up."""
    import_id = _opened(door)
    assert _ask(door, f"/{import_id}/begin").status_code == 202
    shown = door.read(f"/v1/workflows/{import_id}").json()
    assert [step["task"] for step in shown["steps"]] == ["imports.sum_up"]


def test_others_imports_are_not_there(door: Door) -> None:
    """One answer for another tenant's and nobody's; the same key is another import."""
    import_id = _opened(door)
    for which in (import_id, NOBODYS):
        assert door.read(f"/v1/imports/{which}", tenant="bank").status_code == 404
        for path, body in ((f"/{which}/begin", None), (f"/{which}/logins", _portion(login()))):
            assert _ask(door, path, body, tenant="bank").status_code == 404
    assert _ask(door, "", {"key": "file-1"}, tenant="bank").json()["import_id"] != import_id


class _Overtaken(HTTPAdapter):
    """The first portion comes when the second has been answered."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[tuple[int, int]] = []
        self._is_second_answered = threading.Event()

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        if not (request.url or "").endswith("/logins"):
            return super().send(request, *args, **kwargs)
        after = json.loads(request.body or b"")["after"]
        assert after > 0 or self._is_second_answered.wait(20)
        answer = super().send(request, *args, **kwargs)
        self.answers.append((after, answer.status_code))
        if after > 0:
            self._is_second_answered.set()
        return answer


def test_a_portion_that_overtakes_another_is_sent_again(door: Door) -> None:
    """Two are on their way at once; what comes too early is refused, and comes again when it can go on there."""

    class Begun(Exception):
        """All was put in."""

    def stop(found: dict[str, Any]) -> None:
        if found["state"] != "uploading":
            raise Begun

    importer = Importer(door.url, KEYS["shop"], stop)
    road = _Overtaken()
    importer._session.mount("http://", road)
    lines = [Line(n, login(event_id=f"e-{n}", user_id=f"u-{n}")) for n in range(1, 4_501)]
    with pytest.raises(Begun):
        importer.run("file-1", lines)
    assert road.answers[:2] == [(1000, 409), (0, 200)]
    taken = [after for after, status in road.answers if status == 200]
    assert sorted(taken) == [0, 1000, 2000, 3000, 4000]
    assert door.count("import_login") == 4_500
    assert importer.outcome.found["staged"] == 4_500


@pytest.mark.parametrize("when", ["Wed, 21 Oct 2015 07:28:00 GMT", "-5", "soon"])
def test_a_pause_that_is_not_in_seconds_is_no_end(
    monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """A proxy may name a moment (RFC 9110): the gateway is asked again after a while."""
    monkeypatch.setattr(importing, "_PAUSE_SECONDS", 0.01)
    answers = iter([(503, {"Retry-After": when}, b""), (401, {}, b'{"title": "no such key"}')])
    with http_server(lambda _: next(answers)) as server:
        importer = Importer(server.url, "key-of-shop", lambda _: None)
        with pytest.raises(Refused, match="401: no such key"):
            importer.run("file-1", [])


def test_a_command_that_is_killed_has_named_what_was_bad(door: Door, tmp_path: Path) -> None:
    """The import goes on behind those lines, so nobody sees them again; what they hold moves no terminal."""
    (tmp_path / "key").write_text(KEYS["shop"])
    bad = login(**{"\x1b[2Jfield": 1})
    lines = [b"{", json.dumps(bad).encode()] + [
        json.dumps(login(event_id=f"e-{n}", user_id=f"u-{n}")).encode() for n in range(3_000)
    ]
    command = subprocess.Popen(
        [
            *(sys.executable, "-c", "from services.cli.main import main; main()"),
            *("logins", "import", "-", "--gateway", door.url, "--key-file", str(tmp_path / "key")),
        ],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert command.stdin is not None
    assert command.stderr is not None
    try:
        # The file does not end: the command waits for more of it when it is killed.
        command.stdin.write(b"\n".join(lines) + b"\n")
        command.stdin.flush()
        wait_until(lambda: door.count("import_login") >= 2_000)
        named = [command.stderr.readline().decode() for _ in range(2)]
    finally:
        command.kill()
        command.communicate()
    assert named[0].startswith("line 1: is not JSON")
    assert named[1].startswith(r"line 2: \x1b[2Jfield: is not a field")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"after": 1, "line": 1, "logins": []}, "line"),
        ({"after": -1, "line": 1, "logins": []}, "after"),
        ({"after": 0, "line": "1", "logins": []}, "line"),
        ({"after": 0, "line": 1, "logins": [{"line": 1}]}, "logins.0.login"),
        ({"after": 0, "line": 1, "logins": [], "more": 1}, "more"),
        ([], ""),
    ],
)
def test_a_wrong_portion_names_its_field(door: Door, body: Any, field: str) -> None:
    """And nothing of it is put in."""
    answer = _ask(door, f"/{_opened(door)}/logins", body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
