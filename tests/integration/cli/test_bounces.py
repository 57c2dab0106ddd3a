"""`doorbell mail bounced` on a real database."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tests.integration.cli.conftest import Run
from tests.unit.cli.test_bounces import NOTICE, POSTFIX


@pytest.fixture
def notice(database_url: str, doorbell: Run) -> None:
    """One that has left by mail."""
    doorbell("tenant", "create", "shop", "The Shop")
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "WITH made AS (INSERT INTO workflow (id, tenant_id, name) VALUES (%s, 'shop', 'login') RETURNING id)"
            " INSERT INTO notice (id, workflow_id, tenant_id, user_id, reason, channel, state, sent_at)"
            " SELECT %s, id, 'shop', 'ada', 'new_device', 'email', 'sent', now() FROM made",
            (uuid4(), NOTICE),
        )


def _bounced(database_url: str) -> object:
    with psycopg.connect(database_url) as connection:
        return connection.execute("SELECT bounce FROM notice").fetchone()


def test_a_bounce_is_noted_once(
    notice: None, database_url: str, doorbell: Run, tmp_path: Path
) -> None:
    """Beside mails that are none, each with what became of it."""
    for name, text in (("bounce", POSTFIX), ("other", "Subject: hello\n\nhello")):
        (tmp_path / name).write_text(text)
    files = [tmp_path / name for name in ("other", "bounce", "bounce")]
    code, rows = doorbell("mail", "bounced", *files)
    assert code == 0
    assert [row["is_noted"] for row in rows] == [False, True, False]
    assert (rows[1]["notice_id"], rows[1]["status"]) == (str(NOTICE), "5.1.1")
    assert _bounced(database_url) == ("5.1.1",)


def test_a_mail_server_pipes_it_in(
    notice: None, database_url: str, doorbell: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(POSTFIX.encode())))
    assert doorbell("mail", "bounced")[0] == 0
    assert _bounced(database_url) == ("5.1.1",)


def test_a_notice_of_nobody_changes_nothing(
    database_url: str, doorbell: Run, tmp_path: Path
) -> None:
    """It was erased, or it never was."""
    (tmp_path / "bounce").write_text(POSTFIX)
    code, [row] = doorbell("mail", "bounced", tmp_path / "bounce")
    assert (code, row["is_noted"]) == (0, False)


def test_a_file_that_is_not_there_is_named(
    database_url: str, doorbell: Run, tmp_path: Path
) -> None:
    """Nothing is noted then."""
    code, error = doorbell("mail", "bounced", tmp_path / "absent")
    assert code == 2
    assert f"{tmp_path / 'absent'} cannot be read: No such file" in error


def test_a_maildir_is_gone_through(
    notice: None, database_url: str, doorbell: Run, tmp_path: Path
) -> None:
    """Each mail is looked at once, also one that is none; an empty one is no mistake."""
    (tmp_path / "new").mkdir()
    assert doorbell("mail", "bounced", tmp_path) == (0, [])
    for name, text in (("1.bounce", POSTFIX), ("2.other", "Subject: hello\n\nhello")):
        (tmp_path / "new" / name).write_text(text)
    code, rows = doorbell("mail", "bounced", tmp_path)
    assert (code, [row["is_noted"] for row in rows]) == (0, [True, False])
    assert _bounced(database_url) == ("5.1.1",)
    assert {path.name for path in (tmp_path / "cur").iterdir()} == {"1.bounce:2,S", "2.other:2,S"}
    assert doorbell("mail", "bounced", tmp_path) == (0, [])
    code, error = doorbell("mail", "bounced", tmp_path / "cur")
    assert (code, "is no Maildir: it has no directory `new`" in error) == (2, True)


def test_a_file_that_is_not_there_takes_nothing_from_those_before(
    notice: None, database_url: str, doorbell: Run, tmp_path: Path
) -> None:
    """Each mail is noted by itself."""
    (tmp_path / "bounce").write_text(POSTFIX)
    assert doorbell("mail", "bounced", tmp_path / "bounce", tmp_path / "absent")[0] == 2
    assert _bounced(database_url) == ("5.1.1",)
