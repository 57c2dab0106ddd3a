"""The reference outlier API as its own process, over real sockets."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from services.outlier.contract import BATCH_LIMIT, ScoreAnswer, ScoreBatchAnswer
from tests.support.fleet import wait_until
from tests.support.outlier_process import DEADLINE_SECONDS, Api, serving
from tests.support.ports import free_port


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("outlier") / "outlier.sqlite") as started:
        yield started


_LATELY = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
"""A login of a fixed date would one day be older than what the API keeps."""


def body(request_id: str, tenant_id: str, **fields: Any) -> dict[str, Any]:
    usual = {
        "request_id": request_id,
        "tenant_id": tenant_id,
        "user_id": "ada",
        "occurred_at": _LATELY,
        "ip_network": "203.0.113.0/24",
        "asn": 64500,
        "country": "DE",
        "user_agent": {"browser": "Firefox", "os": "Windows", "device": "desktop"},
        "device_known": True,
        "auth_method": "password",
    }
    return {**usual, **fields}


def test_a_login_is_scored_by_contract(api: Api) -> None:
    """The first login has no score, the second one has, and both answers are the contract's."""
    first, second = (api.score(body(f"r-{n}", "contract")) for n in (1, 2))
    assert first.status_code == second.status_code == 200
    assert ScoreAnswer.model_validate_json(first.content).score is None
    answer = ScoreAnswer.model_validate_json(second.content)
    assert answer.request_id == "r-2"
    assert answer.score is not None
    assert (answer.level, answer.action, answer.reasons) == ("low", "allow", ())


def test_the_idempotency_key_names_one_answer(api: Api) -> None:
    """Same key and body: the stored answer. Same key and another body: 409."""
    for number in (1, 2):
        api.score(body(f"r-{number}", "key"))
    first = api.score(body("r-3", "key"), Idempotency_Key="k")
    again = api.score(body("r-3", "key"), Idempotency_Key="k")
    other = api.score(body("r-4", "key"), Idempotency_Key="k")
    assert first.content == again.content
    assert other.status_code == 409
    assert other.headers["content-type"] == "application/problem+json"
    assert "another request" in other.json()["detail"]


def test_a_batch_gives_one_answer_each_in_order(api: Api) -> None:
    """A batch says the same as its logins one by one would have."""
    requests_ = [body(f"r-{number}", "batch") for number in range(3)]
    response = api.score({"requests": requests_}, "/v1/score:batch")
    answers = ScoreBatchAnswer.model_validate_json(response.content).answers
    assert [answer.request_id for answer in answers] == ["r-0", "r-1", "r-2"]
    assert api.score(requests_[2]).json() == response.json()["answers"][2]


@pytest.mark.parametrize(
    ("path", "sent", "status", "words"),
    [
        ("/v1/score", b"{", 400, "not JSON"),
        ("/v1/score", b"\xff\xfe", 400, "body"),
        ("/v1/score", b"[]", 422, "valid dictionary"),
        ("/v1/score", b"{}", 422, "/request_id"),
        ("/v1/score", b" " * 2_000_000, 413, "1048576 bytes"),
        ("/v1/score", b"[" * 100_000, 400, "body"),
        ("/v1/score", b'{"request_id": "\\ud800"}', 422, "/request_id"),
        ("/v1/score", b'{"request_id": "r", "asn": 1e999}', 422, "/asn"),
        ("/v1/score:batch", b"{", 400, "not JSON"),
        ("/v1/score:batch", b'{"requests": []}', 422, "/requests"),
        ("/v1/score:batch", b" " * 2_000_000, 413, "1048576 bytes"),
    ],
    ids=range(11),
)
def test_bad_bodies_get_a_clear_answer(
    api: Api, path: str, sent: bytes, status: int, words: str
) -> None:
    """No body brings a 500, and each answer is a problem document with its status in it."""
    headers = {"Content-Type": "application/json"}
    response = requests.post(api.url + path, data=sent, headers=headers, timeout=10)
    problem = response.json()
    assert (response.status_code, problem["status"]) == (status, status)
    assert response.headers["content-type"] == "application/problem+json"
    assert words in problem["detail"] + "".join(e["pointer"] for e in problem["errors"])


def test_a_wrong_field_is_named_by_pointer(api: Api) -> None:
    """Also inside a batch the client learns which login and which field is wrong."""
    wrong = {"requests": [body("r-1", "wrong"), body("r-2", "wrong", country="Germany")]}
    problem = api.score(wrong, "/v1/score:batch").json()
    assert [error["pointer"] for error in problem["errors"]] == ["/requests/1/country"]


def test_a_batch_above_the_limit_is_refused(api: Api) -> None:
    """The limit is part of the contract."""
    many = [body(f"r-{number}", "limit") for number in range(BATCH_LIMIT + 1)]
    response = api.score({"requests": many}, "/v1/score:batch")
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "/requests")


def test_unknown_paths_are_problems_too(api: Api) -> None:
    """A client that parses problem documents needs no second parser."""
    response = requests.get(f"{api.url}/v2/score", timeout=10)
    assert (response.status_code, response.json()["title"]) == (404, "Not Found")


def test_the_documentation_shows_examples_and_errors(api: Api) -> None:
    """OpenAPI is what somebody who writes a replacement reads."""
    document = requests.get(f"{api.url}/openapi.json", timeout=10).json()
    assert document["components"]["schemas"]["ScoreRequest"]["properties"]["country"]["examples"]
    for path in ("/v1/score", "/v1/score:batch"):
        responses = document["paths"][path]["post"]["responses"]
        assert {"200", "400", "401", "409", "413", "422", "503"} <= set(responses)
        assert "application/problem+json" in responses["409"]["content"]


def test_answers_are_quick_and_counted(api: Api) -> None:
    """Most answers take under 5 ms by the service's own histogram, also on a busy machine."""
    before = api.metric("doorbell_outlier_answers_total")
    with requests.Session() as session:
        for number in range(300):
            sent = body(f"r-{number}", "quick", user_id=f"user-{number % 30}")
            assert session.post(f"{api.url}/v1/score", json=sent, timeout=10).ok
    assert api.metric("doorbell_outlier_answers_total") > before
    quick = api.metric('doorbell_outlier_answer_seconds_bucket{le="0.005"}')
    assert quick >= 0.5 * api.metric("doorbell_outlier_answer_seconds_count")


def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    """A process that is killed gives the same answers when it is back, and has learned once."""
    database = tmp_path / "outlier.sqlite"
    with serving(database) as api:
        answers = [api.score(body(f"r-{number}", "kill")).json() for number in range(5)]
        api.process.send_signal(signal.SIGKILL)
        api.process.wait(timeout=DEADLINE_SECONDS)
    with serving(database) as api:
        again = [api.score(body(f"r-{number}", "kill")).json() for number in range(5)]
    assert again == answers


def test_the_log_is_written_back_beside_the_answers(tmp_path: Path) -> None:
    """Within seconds what was learned is in the file, long before SQLite would have a request wait for that."""
    database = tmp_path / "outlier.sqlite"
    with serving(database) as api:
        new = database.stat().st_size
        for first in range(0, 1000, BATCH_LIMIT):
            some = [body(f"r-{n}", "log", user_id=f"u-{n}") for n in range(first, first + 100)]
            assert api.score({"requests": some}, "/v1/score:batch").ok
        wait_until(lambda: database.stat().st_size > new, DEADLINE_SECONDS)


def test_a_key_can_be_required(tmp_path: Path) -> None:
    """With a key file, a request without that key is refused and health stays open."""
    secret = tmp_path / "key"
    secret.write_text("open sesame\n")
    with serving(tmp_path / "outlier.sqlite", "--api-key-file", str(secret)) as api:
        missing = api.score(body("r-1", "auth"))
        wrong = api.score(body("r-1", "auth"), Authorization="Bearer guess")
        right = api.score(body("r-1", "auth"), Authorization="Bearer open sesame")
    assert [missing.status_code, wrong.status_code, right.status_code] == [401, 401, 200]
    assert missing.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "options",
    [
        ("--medium", "5", "--high", "1"),
        ("--api-key-file", "/nonexistent"),
        ("--database", "/proc/none.sqlite"),
    ],
)
def test_wrong_options_are_told_without_a_stack_trace(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """An operator's mistake gets a sentence and exit code 2."""
    command = [sys.executable, "-m", "services.outlier", "--database", str(tmp_path / "o.sqlite")]
    ended = subprocess.run([*command, *options], capture_output=True, check=False, text=True)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


def test_metrics_have_a_port_of_their_own_when_wanted(tmp_path: Path) -> None:
    """A firewall can then let Prometheus in without letting it ask for scores."""
    port = free_port()
    with serving(tmp_path / "outlier.sqlite", "--metrics-port", str(port)):
        text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text

    assert "doorbell_outlier_answer_seconds_count 0.0" in text
