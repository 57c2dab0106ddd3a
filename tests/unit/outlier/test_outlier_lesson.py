"""A list of logins that is learned gives the history that asking about each would give."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.outlier.contract import ScoreRequest, UserAgent
from services.outlier.judge import Judge
from services.outlier.store import Store

_COUNTS = ("tenant_total", "user_total", "level_total", "value_count", "learned")


def _drawn(seed: int, number: int) -> list[ScoreRequest]:
    """Few users and values, so that they meet; some logins look like attacks."""
    drawn = random.Random(seed)
    return [
        ScoreRequest(
            request_id=f"r-{each}",
            tenant_id=drawn.choice(("shop", "shop", "forum")),
            user_id=f"u-{drawn.randrange(6)}",
            occurred_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=drawn.randrange(200)),
            ip_network=f"192.0.{drawn.choice((1, 1, 1, 2, 3, 250))}.0/24",
            country=drawn.choice((None, "DE", "DE", "FR", "BR")),
            user_agent=UserAgent(
                digest=f"d{drawn.randrange(9)}", browser=drawn.choice((None, "b"))
            ),
            device_known=drawn.random() < 0.3,
        )
        for each in range(number)
    ]


def _counts(path: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(path)) as connection:
        return {
            table: sorted(connection.execute(f"SELECT * FROM {table}").fetchall())
            for table in _COUNTS
        }


@pytest.mark.parametrize("seed", range(5))
def test_a_list_teaches_what_its_logins_would(tmp_path: Path, seed: int) -> None:
    """Whatever the lists' lengths are; denied logins are in neither history."""
    logins = _drawn(seed, 400)
    one, other = Store(tmp_path / "one"), Store(tmp_path / "other")
    answers = [Judge(one).answer(each) for each in logins]
    assert any(answer.action == "deny" for answer in answers)
    judge, learned, drawn = Judge(other), 0, random.Random(seed)
    rest = logins
    while rest:
        size = drawn.choice((1, 7, 90))
        learned += judge.learn(rest[:size])
        rest = rest[size:]
    one.close()
    other.close()
    assert _counts(tmp_path / "one") == _counts(tmp_path / "other")
    assert learned == len(_counts(tmp_path / "other")["learned"])


def test_a_login_is_learned_once(tmp_path: Path) -> None:
    """However often it comes, in one list or in two."""
    store = Store(tmp_path / "scores")
    judge = Judge(store)
    [login] = _drawn(9, 1)
    assert [judge.learn([login, login]), judge.learn([login])] == [1, 0]
    assert store.totals(login.tenant_id, login.user_id).user_logins == 1
    store.close()
