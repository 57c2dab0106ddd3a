"""`make bench-outlier`: what it takes for an answer, and that it goes through; how fast is nobody's promise."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.bench import outlier
from tests.bench.outlier_people import People
from tests.bench.outlier_questions import (
    Connection,
    Question,
    WrongAnswer,
    forget,
    score,
    score_batch,
)
from tests.support.outlier_api import ANSWER, AdjustableOutlierApi

_SHORT = (
    "--learned",
    "1000",
    "--rounds",
    "1",
    "--seconds",
    "1",
    "--sizes",
    "0,1000",
    "--asked",
    "50",
)
LOGINS = People(1).take(2)


def _answered(request_id: str) -> dict[str, Any]:
    return ANSWER | {"request_id": request_id}


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (score(LOGINS[0]), _answered("another")),
        (score(LOGINS[0]), _answered(LOGINS[0]["request_id"]) | {"level": "none"}),
        (score_batch(LOGINS), {"answers": [_answered(LOGINS[0]["request_id"])]}),
        (forget(LOGINS[0]), {"logins": 0}),
    ],
    ids=["another login", "another level", "one of two", "nothing forgotten"],
)
def test_what_breaks_the_contract_is_no_answer(question: Question, answer: object) -> None:
    """A load test that counts anything as an answer measures how fast a service fails."""
    with pytest.raises((WrongAnswer, ValueError)):
        question.read(json.dumps(answer).encode())


def test_an_answer_says_how_much_longer_the_history_is() -> None:
    """A denied login is not learned, and what is forgotten counts against."""
    ids = [login["request_id"] for login in LOGINS]
    denied = _answered(ids[1]) | {"action": "deny"}
    answers = json.dumps({"answers": [_answered(ids[0]), denied]}).encode()
    assert score_batch(LOGINS).read(answers) == 1
    assert forget(LOGINS[0]).read(b'{"logins": 3}') == -3


@pytest.mark.parametrize(("status", "told"), [(503, "answered 503"), (200, "to be kept")])
def test_other_answers_are_told(status: int, told: str) -> None:
    """Of another status, or on a connection that is closed after it."""
    with AdjustableOutlierApi() as api:
        api.status = status
        connection = Connection(api.port)
        with pytest.raises(WrongAnswer, match=f"POST /v1/score: .*{told}"):
            connection.ask(score(LOGINS[0]))
        connection.close()


def test_a_wrong_answer_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 1 and a sentence, and without a table."""

    @contextmanager
    def another(*_: object, **__: object) -> Iterator[SimpleNamespace]:
        with AdjustableOutlierApi() as api:
            yield SimpleNamespace(port=api.port, process=SimpleNamespace(pid=os.getpid()))

    monkeypatch.setattr(outlier, "serving", another)
    assert outlier.main(_SHORT) == 1
    shown = capsys.readouterr()
    assert "GET /healthz: it answered 501" in shown.err
    assert shown.out == ""


def test_the_whole_is_gone_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind of request has its row and its figures."""
    assert outlier.main([*_SHORT, "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    asked = {(each["name"], each["at_once"]) for each in found["figures"]}
    assert {("score", 32), ("score:batch of 100", 1), ("users:forget", 1)} <= asked
    assert [each["history"] for each in found["by_history"]] == [0, 1000]
    assert "times as long (p50)" in capsys.readouterr().out
