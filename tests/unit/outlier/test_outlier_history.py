"""What the reference outlier API keeps of the past, and for how long, on real SQLite files."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.outlier.model import Totals
from services.outlier.store import Store, months_before

_WITHOUT_MONTHS = """
CREATE TABLE tenant_total (tenant_id TEXT PRIMARY KEY, logins INTEGER NOT NULL, users INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE user_total (tenant_id TEXT NOT NULL, user_id TEXT NOT NULL, logins INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, user_id)) WITHOUT ROWID;
CREATE TABLE level_total (tenant_id TEXT NOT NULL, level TEXT NOT NULL, distinct_values INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, level)) WITHOUT ROWID;
CREATE TABLE value_count (tenant_id TEXT NOT NULL, user_id TEXT NOT NULL, level TEXT NOT NULL,
    value TEXT NOT NULL, logins INTEGER NOT NULL, PRIMARY KEY (tenant_id, user_id, level, value)) WITHOUT ROWID;
CREATE TABLE learned (tenant_id TEXT NOT NULL, request_id TEXT NOT NULL,
    PRIMARY KEY (tenant_id, request_id)) WITHOUT ROWID;
CREATE TABLE answer (tenant_id TEXT NOT NULL, idempotency_key TEXT NOT NULL, request_digest TEXT NOT NULL,
    body TEXT NOT NULL, PRIMARY KEY (tenant_id, idempotency_key)) WITHOUT ROWID;
INSERT INTO tenant_total VALUES ('shop', 3, 1);
INSERT INTO user_total VALUES ('shop', 'ada', 3);
INSERT INTO level_total VALUES ('shop', 'country', 1);
INSERT INTO value_count VALUES ('shop', 'ada', 'country', 'DE', 3), ('shop', '', 'country', 'DE', 3);
INSERT INTO learned VALUES ('shop', 'r-1');
INSERT INTO answer VALUES ('shop', 'r-1', 'digest', 'body');
"""
"""A file of the version before, with what it knows of one user."""

Login = tuple[str, str, str, dict[str, str], datetime]


def _learn(path: Path, logins: Iterable[Login]) -> None:
    with closing(Store(path)) as store:
        for login in logins:
            with store.transaction():
                store.learn(*login)


def _counts(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All that scores are made of; levels that nothing is left of are none."""
    with closing(sqlite3.connect(path)) as connection:
        return {
            table: [
                row
                for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall()
                if row[-1]
            ]
            for table in ("tenant_total", "user_total", "level_total", "value_count")
        }


@pytest.mark.parametrize(
    ("moment", "months", "month"),
    [
        (datetime(2026, 11, 29, tzinfo=UTC), 6, "2026-05"),
        (datetime(2026, 1, 31, tzinfo=UTC), 1, "2025-12"),
        (datetime(2026, 12, 1, tzinfo=UTC), 24, "2024-12"),
        (datetime.fromisoformat("2026-03-01T00:30:00+02:00"), 0, "2026-02"),
    ],
)
def test_months_are_counted_back_in_utc(moment: datetime, months: int, month: str) -> None:
    """Over the turn of a year, too."""
    assert months_before(moment, months) == month


@pytest.mark.parametrize("seed", range(5))
def test_what_is_forgotten_was_never_there(tmp_path: Path, seed: int) -> None:
    """Forgotten a few users at a time, the model is that of one that never heard of the old logins."""
    drawn = random.Random(seed)
    start = datetime(2025, 9, 1, tzinfo=UTC)
    logins: list[Login] = [
        (
            drawn.choice(("shop", "bank")),
            f"r-{number}",
            f"user-{drawn.randrange(12)}",
            {"country": drawn.choice(("DE", "FR", "US")), "os": f"os {drawn.randrange(8)}"},
            start + timedelta(days=drawn.randrange(300)),
        )
        for number in range(150)
    ]
    _learn(tmp_path / "all", logins)
    _learn(tmp_path / "new", [login for login in logins if f"{login[-1]:%Y-%m}" >= "2026-02"])
    with closing(Store(tmp_path / "all")) as store:
        passes = []
        while not passes or passes[-1]:
            with store.transaction():
                passes.append(store.forget_old("2026-02", 5))
        assert store.size() == (
            sum(f"{login[-1]:%Y-%m}" >= "2026-02" for login in logins),
            len({login[:3:2] for login in logins if f"{login[-1]:%Y-%m}" >= "2026-02"}),
        )
    assert max(passes) == 5
    assert _counts(tmp_path / "all") == _counts(tmp_path / "new")


def test_a_login_of_the_future_is_of_this_month(tmp_path: Path) -> None:
    """A clock that is wrong keeps nothing for longer."""
    future = datetime.now(UTC) + timedelta(days=90)
    _learn(tmp_path / "file", [("shop", "r-1", "ada", {"country": "DE"}, future)])
    with closing(sqlite3.connect(tmp_path / "file")) as connection:
        assert connection.execute("SELECT month FROM user_total").fetchone()[0] <= months_before(
            datetime.now(UTC), 0
        )


def test_a_file_without_months_is_taken_over(tmp_path: Path) -> None:
    """All that it knows stays, as of this month; and the version before can use it again."""
    path = tmp_path / "file"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(_WITHOUT_MONTHS)
    for _ in range(2):  # opened again, it is left as it is
        with closing(Store(path)) as store:
            assert store.totals("shop", "ada") == Totals(3, 1, 3)
            seen = store.seen("shop", "ada", {"country": "DE"})["country"]
            assert (seen.by_user, seen.by_all, seen.distinct) == (3, 3, 1)
            assert store.find_answer("shop", "r-1") == ("digest", "body")
            with store.transaction():
                store.learn("shop", "r-1", "ada", {"country": "DE"}, datetime.now(UTC))
                assert store.forget_old(months_before(datetime.now(UTC), 0), 9) == 0
            assert store.totals("shop", "ada").user_logins == 3
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "INSERT INTO user_total (tenant_id, user_id, logins) VALUES ('shop', 'ada', 1)"
            " ON CONFLICT DO UPDATE SET logins = logins + 1"
        )
        assert connection.execute("SELECT sum(logins) FROM user_total").fetchone() == (4,)


def test_answers_are_forgotten_too(tmp_path: Path) -> None:
    """And which logins were learned; what is of this month stays."""
    with closing(Store(tmp_path / "file")) as store, store.transaction():
        store.keep_answer("shop", "k-1", "digest", "body")
        this, next_month = (months_before(datetime.now(UTC), ago) for ago in (0, -1))
        store.forget_old(this, 9)
        assert store.find_answer("shop", "k-1") is not None
        store.forget_old(next_month, 9)
        assert store.find_answer("shop", "k-1") is None


def test_a_log_that_was_written_back_starts_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or its file would grow for as long as somebody signs in; what is learned meanwhile is written back too."""
    monkeypatch.setattr("services.outlier.store._LONG_LOG_CHANGES", 100)
    path, now = tmp_path / "file", datetime.now(UTC)
    logins = [("shop", f"r-{n}", f"u-{n}", {"country": "DE"}, now) for n in range(60)]
    with closing(Store(path)) as store:

        def learn(some: Iterable[Login]) -> int:
            for login in some:
                with store.transaction():
                    store.learn(*login)
            return path.with_name("file-wal").stat().st_size

        learn(logins[:30])
        assert store.is_log_long
        with ThreadPoolExecutor(1) as threads:
            threads.submit(store.write_back_beside).result()
        length = learn(logins[30:31])
        store.write_back_rest()
        assert not store.is_log_long
        assert learn(logins[31:]) == length
        assert store.size() == (60, 60)


def test_of_who_is_forgotten_nothing_is_left_in_the_files(tmp_path: Path) -> None:
    """Neither where rows were, nor in the log, which nobody would write over where few log in."""
    path = tmp_path / "file"
    at = datetime(2026, 3, 1, tzinfo=UTC)

    def files_with_her() -> list[str]:
        return [each.name for each in tmp_path.iterdir() if b"ada-the-person" in each.read_bytes()]

    with closing(Store(path)) as store:
        for user in ("ada-the-person", "ben"):
            with store.transaction():
                store.learn("shop", f"r-{len(user)}", user, {"country": "DE"}, at)
        store.write_back_rest()
        assert files_with_her() == ["file", "file-wal"]
        assert not store.is_log_long
        with store.transaction():
            assert store.forget("shop", "ada-the-person") == 1
        assert store.is_log_long
        with closing(sqlite3.connect(path)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM user_total").fetchall()
            store.write_back_beside()
            store.write_back_rest()
            assert store.is_log_long
        store.write_back_rest()
        assert not store.is_log_long
        assert files_with_her() == []
        assert store.size() == (1, 1)
