"""Judging, learning and answering again, on a real SQLite file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.outlier.contract import ScoreRequest, UserAgent
from services.outlier.judge import Judge, KeyReused
from services.outlier.metrics import Metrics
from services.outlier.model import Thresholds, Totals
from services.outlier.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "outlier.sqlite")
    yield opened
    opened.close()


def login(request_id: str, **fields: Any) -> ScoreRequest:
    usual: dict[str, Any] = {
        "user_id": "ada",
        "occurred_at": datetime(2026, 3, 1, tzinfo=UTC),
        "country": "DE",
        "device_known": True,
    }
    return ScoreRequest(request_id=request_id, **{**usual, **fields})


def test_the_score_comes_from_the_logins_before(store: Store) -> None:
    """The second login is scored by the first one alone.

    History: 1 login, 1 user, country seen in it; 1 unseen value.
    All: 1/1 * (1 - 1/2) = 0.5.  User: 1.  Account: (1/1) / (1/1) = 1.  Score 0.5.
    """
    judge = Judge(store)
    first, second = judge.answer(login("r-1")), judge.answer(login("r-2"))
    assert (first.score, first.level, first.reasons) == (None, "low", ("first_login",))
    assert second.score == pytest.approx(0.5, abs=1e-9)


def test_counts_follow_every_login(store: Store) -> None:
    """Users, values and the distinct values of a level are counted once each.

    Ada from DE twice and from FR, then Bob from DE. Ada from FR again:
    All: 1/4 * (1 - 1/5) = 0.2.  User: 1/3.  Account: (1/2) / (3/4) = 2/3.  Score 0.4.
    """
    judge = Judge(store)
    for number, country in enumerate(["DE", "DE", "FR"]):
        judge.answer(login(f"a-{number}", country=country))
    judge.answer(login("b-1", user_id="bob"))
    assert store.totals("default", "ada") == Totals(logins=4, users=2, user_logins=3)
    assert store.seen("default", "ada", {"country": "FR"})["country"].distinct == 2
    assert judge.answer(login("a-9", country="FR")).score == pytest.approx(0.4, abs=1e-9)


def test_the_same_request_again_gets_the_same_answer_and_is_learned_once(store: Store) -> None:
    """A client whose answer got lost may ask again."""
    judge = Judge(store)
    judge.answer(login("r-1"))
    answer = judge.answer(login("r-2"), key="k")
    assert judge.answer(login("r-2"), key="k") == answer
    assert store.totals("default", "ada").logins == 2


def test_a_login_under_another_key_is_learned_once(store: Store) -> None:
    """The request_id names the login, whatever the key says."""
    judge = Judge(store)
    judge.answer(login("r-1"), key="k-1")
    judge.answer(login("r-1"), key="k-2")
    assert store.totals("default", "ada").logins == 1


def test_a_key_with_another_request_is_refused(store: Store) -> None:
    """A key that names two requests is a client's mistake and changes nothing."""
    judge = Judge(store)
    judge.answer(login("r-1"), key="k")
    with pytest.raises(KeyReused, match="'k'"):
        judge.answer(login("r-2"), key="k")
    assert store.totals("default", "ada").logins == 1


def test_a_batch_is_answered_in_order_or_not_at_all(store: Store) -> None:
    """A conflict in the middle of a batch leaves nothing of it behind."""
    judge = Judge(store)
    with pytest.raises(KeyReused):
        judge.answer_batch([login("r-1"), login("r-2"), login("r-2", country="FR")])
    assert store.totals("default", "ada").logins == 0
    answers = judge.answer_batch([login("r-1"), login("r-2")])
    assert [(a.request_id, a.score) for a in answers] == [("r-1", None), ("r-2", 0.5)]


def test_tenants_share_nothing(store: Store) -> None:
    """Neither history nor keys of one tenant reach another."""
    judge = Judge(store)
    judge.answer(login("r-1"), key="k")
    other = judge.answer(login("r-2", tenant_id="other"), key="k")
    assert other.reasons == ("first_login",)


def test_a_denied_login_teaches_nothing(store: Store) -> None:
    """An attacker cannot become the usual case by trying again."""
    judge = Judge(store, Thresholds(medium=1.0, high=2.0))
    judge.answer(login("r-1"))
    stranger = {"country": "FR", "device_known": False, "user_agent": UserAgent(os="Linux")}
    first = judge.answer(login("r-2", **stranger))
    again = judge.answer(login("r-3", **stranger))
    assert (first.action, again.action) == ("deny", "deny")
    assert first.score == again.score == pytest.approx(16.0, abs=1e-9)
    assert store.totals("default", "ada").logins == 1


def test_a_user_who_moved_is_learned_by_the_known_device(store: Store) -> None:
    """A known device is challenged, not denied, so that the model gets used to the place."""
    judge = Judge(store, Thresholds(medium=1.0, high=2.0))
    judge.answer(login("r-1"))
    assert judge.answer(login("r-2", country="FR")).action == "challenge"
    assert judge.answer(login("r-3", country="FR")).action == "allow"


def test_answers_survive_a_new_process(store: Store, tmp_path: Path) -> None:
    """What was answered is on the disk, not in memory."""
    answer = Judge(store).answer(login("r-1"))
    other = Store(tmp_path / "outlier.sqlite")
    assert Judge(other).answer(login("r-1")) == answer
    other.close()


def test_an_answer_costs_little(store: Store) -> None:
    """99 of 100 answers take under 5 ms of processor time, so 100 a second leave half a core."""
    judge = Judge(store)
    costs = []
    for number in range(500):
        agent = UserAgent(browser=f"b{number % 9}", os=f"o{number % 5}", device="desktop")
        request = login(f"r-{number}", user_id=f"user-{number % 50}", user_agent=agent)
        begun = time.thread_time()
        judge.answer(request)
        costs.append(time.thread_time() - begun)
    assert sorted(costs)[494] < 0.005


def test_each_answer_is_counted_by_outcome(store: Store) -> None:
    """The metrics tell fresh answers by level from repeated ones, how high scores are, and what is new to the model."""
    metrics = Metrics()
    judge = Judge(store, watcher=metrics)
    judge.answer(login("r-1"))
    judge.answer(login("r-1"))
    judge.answer(login("r-2"))
    judge.answer(login("r-3", country="FR"))

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"doorbell_outlier_{name}", labels)

    assert value("answers_total", outcome="repeated") == 1
    assert value("answers_total", outcome="low") == 2
    assert value("answers_total", outcome="medium") == 1
    assert value("unseen_total", level="country") == 2
    assert value("unseen_total", level="os") == 0
    assert value("score_count") == 2
    assert value("score_bucket", le="1.0") == 1
