"""Logins of before are learned from, and the logins of now do not wait behind them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from services.cli import importing
from services.domain.errors import Unavailable
from tests.integration.workflow.conftest import Operate
from tests.support.cluster import IPHONE, KEY, WINDOWS, Cluster
from tests.support.fleet import wait_until
from tests.support.outlier_api import AdjustableOutlierApi

USERS = 700
_COLUMNS = "user_id,occurred_at,ip,user_agent,email,successful"


class File:
    """A file of logins of users that no other test has, and how it is imported."""

    def __init__(self, directory: Path, cluster: Cluster, operate: Operate) -> None:
        self.run = uuid4().hex[:8]
        self.path = directory / "logins.csv"
        (directory / "key").write_text(KEY)
        self._where = ("--gateway", cluster.url, "--key-file", str(directory / "key"))
        self._operate = operate
        self._cluster = cluster

    def user(self, number: int) -> str:
        return f"{self.run}-{number}"

    def write(self, *more: str) -> None:
        """Two devices of each user: the later login comes first."""
        rows = [_COLUMNS]
        for number in range(USERS):
            for day, agent in ((2, WINDOWS), (1, IPHONE)):
                who = f"{self.user(number)},2020-03-0{day}T09:00:00Z,203.0.113.7"
                rows.append(f'{who},"{agent}",ada@example.org,true')
        self.path.write_text("\n".join([*rows, *more]) + "\n")

    def imported(self) -> tuple[int, Any]:
        return self._operate("logins", "import", str(self.path), *self._where)

    def count(self, table: str) -> int:
        statement = f"SELECT count(*) FROM {table} WHERE user_id LIKE %s"
        return int(self._cluster.rows(statement, f"{self.run}-%")[0][0])

    def parts(self, import_id: str) -> int:
        statement = "SELECT count(*) FROM import_part WHERE import_id = %s"
        return int(self._cluster.rows(statement, import_id)[0][0])


@pytest.fixture
def file(tmp_path: Path, cluster: Cluster, operate: Operate) -> File:
    return File(tmp_path, cluster, operate)


def _post(cluster: Cluster, path: str, body: Any = None) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=cluster.url, headers=headers, trust_env=False) as client:
        answer = client.post(path, json=body)
    assert answer.status_code in (200, 202), answer.text
    found: dict[str, Any] = answer.json()
    return found


def _learned(cluster: Cluster, file: File, api: AdjustableOutlierApi) -> list[int]:
    """How often the outlier API was told of each of the file's logins."""
    rows = cluster.rows("SELECT workflow_id FROM login WHERE user_id LIKE %s", f"{file.run}-%")
    return [api.calls[str(row[0])] for row in rows]


def test_an_import_teaches_and_tells_nobody(
    cluster: Cluster, file: File, api: AdjustableOutlierApi, operate: Operate
) -> None:
    """A user's second device is known then, a third is told of; bad lines are named, failed logins skipped."""
    failed = f"{file.user(0)},2020-03-01T09:00:00Z,203.0.113.7,curl/8,ada@example.org,false"
    file.write(failed, f"{file.user(0)},2020-03-01T09:00:00Z,nowhere,curl/8,,true", "one,two")
    code, outcome = file.imported()
    assert (code, outcome["state"], outcome["accepted"]) == (1, "done", 2 * USERS)
    assert (outcome["known"], outcome["skipped"], outcome["refused_lines"]) == (0, 1, 2)
    assert [each["line"] for each in outcome["refused"]] == [2 * USERS + 3, 2 * USERS + 4]
    assert "ip: is not an IPv4 or IPv6 address" in outcome["refused"][0]["reason"]

    shown = cluster.workflow(outcome["import_id"])
    assert (shown["name"], shown["state"], shown["user_id"]) == ("import", "done", None)
    tasks = {step["task"] for step in shown["steps"]}
    assert tasks == {"celery.starmap", "external_api.learn_slices", "imports.sum_up"}
    assert file.count("login") == 2 * USERS
    assert file.count("import_login") == 0
    one = cluster.rows("SELECT workflow_id FROM login WHERE user_id = %s", file.user(1))[0][0]
    assert (cluster.workflow(str(one))["state"], operate("trace", str(one))[0]) == ("done", 0)
    assert _learned(cluster, file, api) == [1] * (2 * USERS)
    firsts = "SELECT DISTINCT description FROM device WHERE first_of_user AND user_id LIKE %s"
    assert "Safari" in cluster.rows(firsts, f"{file.run}-%")[0][0]

    assert cluster.ended(cluster.post(file.user(7), WINDOWS)) == ["done"]
    assert file.count("notice") == 0
    chrome = "Mozilla/5.0 (X11; Linux) Chrome/120.0"
    assert cluster.ended(cluster.post(file.user(7), chrome)) == ["done"]
    assert file.count("notice") == 1


def test_a_file_that_is_imported_again_is_the_same_import(cluster: Cluster, file: File) -> None:
    """And in another file its logins are known; nothing counts twice."""
    file.write()
    first = file.imported()
    assert first[0] == 0
    assert file.imported() == first
    file.write("")
    code, outcome = file.imported()
    assert outcome["import_id"] != first[1]["import_id"]
    assert (code, outcome["accepted"], outcome["known"]) == (0, 0, 2 * USERS)
    assert file.count("login") == 2 * USERS


def test_a_line_that_no_gateway_takes_stops_no_other(file: File) -> None:
    """Neither bytes that are no text, nor a huge line, nor many large ones at once."""
    lines = [
        json.dumps(
            {
                "event_id": f"{file.run}-{number}",
                "user_id": file.user(number),
                "occurred_at": "2020-03-01T09:00:00Z",
                "ip": "203.0.113.7",
                "user_agent": "\N{DOOR}" * 1500,
            }
        ).encode()
        for number in range(200)
    ]
    lines[3] = lines[3].replace(b'"user_id": "', b'"user_id": "\xff\xfe')
    lines[5] = b'{"user_id": "' + b"x" * 10_000_000 + b'"}'
    lines[7] = b"{"
    file.path.write_bytes(b"\n".join(lines))

    code, outcome = file.imported()
    assert (code, outcome["state"], outcome["accepted"]) == (1, "done", 197)
    assert [each["line"] for each in outcome["refused"]] == [4, 6, 8]


def test_what_is_broken_off_while_it_is_put_in_goes_on(
    cluster: Cluster, file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same command; what is there is not put in again."""
    file.write()
    portions = importing._portions

    def broken_off(lines: Iterable[Any]) -> Any:
        yield next(portions(iter(lines)))
        raise Unavailable("the network is gone")

    monkeypatch.setattr(importing, "_portions", broken_off)
    code, outcome = file.imported()
    assert (code, outcome["state"]) == (3, "uploading")
    assert file.count("import_login") == 1000
    monkeypatch.undo()
    for name, value in cluster.fleet.environment("operator").items():
        if name.startswith("DOORBELL_"):
            monkeypatch.setenv(name, value)
    code, again = file.imported()
    assert (code, again["import_id"]) == (0, outcome["import_id"])
    assert (again["staged"], again["accepted"]) == (2 * USERS, 2 * USERS)


def test_a_worker_that_is_killed_loses_and_repeats_nothing(
    cluster: Cluster, file: File, api: AdjustableOutlierApi, tmp_path: Path
) -> None:
    """Before it commits a starmap of slices, after that, and while the outlier API learns."""
    cluster.fleet.kill("imports")
    file.write()
    opened = _post(cluster, "/v1/imports", {"key": file.run})
    path = f"/v1/imports/{opened['import_id']}"
    logins = [
        {
            "line": number,
            "login": {
                "event_id": f"{file.run}-{number}",
                "user_id": file.user(number % 50),
                "occurred_at": "2020-03-01T09:00:00Z",
                "ip": "203.0.113.7",
                "user_agent": WINDOWS,
            },
        }
        for number in range(1, 3001)
    ]
    for first in range(0, 3000, 1000):
        portion = {"after": first, "line": first + 1000, "logins": logins[first : first + 1000]}
        assert _post(cluster, f"{path}/logins", portion)["refused"] == []
    assert _post(cluster, f"{path}/begin")["state"] == "accepted"
    for point in ("after_handler", "after_commit"):
        killed = f"{point}@celery.starmap={tmp_path / point}"
        process = cluster.fleet.start("imports", DOORBELL_FAILPOINTS=killed)
        wait_until(lambda process=process: process.poll() is not None, 60, point)
    api.hold.clear()
    cluster.fleet.start("imports")
    wait_until(lambda: api.calls.total() > 0, 60, "the outlier API is asked")
    cluster.fleet.kill("external_api")
    api.hold.set()
    cluster.fleet.start("external_api")
    assert cluster.ended(opened["import_id"]) == ["done"]
    found = cluster.call("GET", path).json()
    assert (found["state"], found["accepted"], found["known"]) == ("done", 3000, 0)
    assert found["unlearned"] == 0
    assert file.count("login") == 3000
    assert min(_learned(cluster, file, api)) >= 1
    assert _post(cluster, f"{path}/begin") == found
