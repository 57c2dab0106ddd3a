"""What files of logins may look like, and what is wrong with a line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from services.cli.login_files import COLUMNS, LOGIN_BYTES, Format, Line, read_logins
from services.cli.logins import reading
from services.domain.errors import ConfigurationError

ADA = {
    "user_id": "ada",
    "occurred_at": "2026-01-01T00:00:00Z",
    "ip": "203.0.113.7",
    "user_agent": "Mozilla/5.0 (X, Y)",
}
RBA = (
    "index,Login Timestamp,User ID,Round-Trip Time [ms],IP Address,Country,Region,City,ASN,"
    "User Agent String,Browser Name and Version,OS Name and Version,Device Type,Login Successful,"
    "Is Attack IP,Is Account Takeover"
)


def _read(text: str | Iterable[str], form: Format = Format.auto) -> list[Line]:
    lines = text.splitlines(keepends=True) if isinstance(text, str) else text
    return list(read_logins(lines, form))


def _csv(*rows: str, columns: str = "user_id,occurred_at,ip,user_agent") -> str:
    return "\n".join([columns, *rows]) + "\n"


def _rba(number: int, *, success: str = "True", takeover: str = "False") -> str:
    return (
        f"{number},2020-02-03 12:43:30.772,-4324475583306591935,,10.0.65.171,NO,-,-,29695,"
        '"Mozilla/5.0 (iPhone; CPU iPhone OS 13_4, like Mac OS X)",Safari 13,iOS 13.4,mobile,'
        f"{success},False,{takeover}"
    )


def test_json_lines_are_read_by_their_numbers() -> None:
    """Blank ones count as lines and are no logins; a byte order mark is no part of the first."""
    lines = _read("\ufeff" + json.dumps(ADA | {"event_id": "1"}) + "\n\n{\n7\n")
    assert [line.number for line in lines] == [1, 3, 4]
    assert lines[0].login == ADA | {"event_id": "1"}
    assert lines[1].problem is not None
    assert "is not JSON" in lines[1].problem
    assert lines[2].problem == "is no JSON object with a login's fields"


def test_csv_columns_have_any_order_and_empty_cells_are_left_out() -> None:
    """What a cell has is not changed, commas in quotes included."""
    text = _csv(
        'a@example.org,"Mozilla/5.0 (X, Y)",ada,2026-01-01T00:00:00Z,203.0.113.7,e-1',
        ',"Mozilla/5.0 (X, Y)",ada,2026-01-01T00:00:00Z,203.0.113.7,e-2',
        columns="email,user_agent,user_id,occurred_at,ip,event_id",
    )
    assert [line.login for line in _read(text)] == [
        ADA | {"email": "a@example.org", "event_id": "e-1"},
        ADA | {"event_id": "e-2"},
    ]


def test_no_user_agent_is_said_and_not_left_out() -> None:
    """The gateway wants one, empty where there was none."""
    [line] = _read(_csv("ada,2026-01-01T00:00:00Z,203.0.113.7,"))
    assert line.login["user_agent"] == ""


def test_the_public_data_set_is_recognised() -> None:
    """Its times are UTC, its index makes ids; failed logins and attackers' are skipped."""
    text = "\n".join([RBA, _rba(1), _rba(2, success="False"), _rba(3, takeover="True"), _rba(4)])
    lines = _read(text)
    assert lines[0].login == {
        "user_id": "-4324475583306591935",
        "occurred_at": "2020-02-03 12:43:30.772Z",
        "ip": "10.0.65.171",
        "user_agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 13_4, like Mac OS X)",
        "event_id": "rba-1",
    }
    assert [line.is_skipped for line in lines] == [False, True, True, False]


@pytest.mark.parametrize(
    ("value", "is_skipped"), [("false", True), ("0", True), ("True", False), ("", False)]
)
def test_failed_logins_are_skipped(value: str, is_skipped: bool) -> None:
    """In CSV by a column, in JSON by a field; neither goes on to the gateway."""
    columns = "user_id,occurred_at,ip,user_agent,successful"
    [line] = _read(_csv(f"ada,2026-01-01T00:00:00Z,203.0.113.7,x,{value}", columns=columns))
    assert line.is_skipped == is_skipped
    [line] = _read(json.dumps(ADA | {"successful": not is_skipped}))
    assert line.is_skipped == is_skipped
    assert "successful" not in (line.login or {})


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ADA | {"successful": "perhaps"}),
        _csv(
            "ada,2026-01-01T00:00:00Z,203.0.113.7,x,perhaps",
            columns="user_id,occurred_at,ip,user_agent,successful",
        ),
    ],
)
def test_an_unclear_success_is_a_problem(text: str) -> None:
    """Whoever failed must not be learned from by a slip of the pen."""
    [line] = _read(text)
    assert line.problem is not None
    assert line.problem.startswith("successful")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"user_id": "ada", "ip": NaN}', "is not JSON: NaN is no value"),
        ('{"user_id": -Infinity}', "is not JSON: -Infinity is no value"),
        ('{"user_id": 1e999}', "is not JSON: 1e999 is too large a number"),
        (
            '{"user_id": "ada", "ip": "192.0.2.1", "user_id": "eve"}',
            "is not JSON: the name 'user_id' occurs twice in one object",
        ),
        ("[" * 60_000, "is nested too deeply"),
        ("x" * 70_000, "is larger than 64 KiB"),
    ],
)
def test_what_no_gateway_can_be_sent_is_a_problem_of_its_line(text: str, problem: str) -> None:
    """The lines around it are read."""
    good = json.dumps(ADA)
    lines = _read(f"{good}\n{text}\n{good}")
    assert [line.problem for line in lines] == [None, problem, None]


def test_a_line_of_any_length_is_never_held_whole(tmp_path: Path) -> None:
    """One JSON array of a year's logins is one line: its beginning is refused, and the next line is read."""
    good = json.dumps(ADA)
    for end in ("\n", "\r\n"):
        file = tmp_path / "logins.ndjson"
        file.write_bytes(f"{good}{end}{'x' * 1_000_000}{end}{good}".encode())
        with reading(file) as lines:
            kept = list(lines)
        assert max(len(line) for line in kept) <= 2 * LOGIN_BYTES
        problems = [line.problem for line in read_logins(kept)]
        assert problems == [None, "is larger than 64 KiB", None]


def test_the_public_data_set_says_of_each_login_whether_it_failed() -> None:
    """Whoever failed must not be learned from because nobody says so."""
    [line] = _read(f"{RBA}\n{_rba(1, success='')}")
    assert line.problem == "Login Successful is '': it must be true or false"
    with pytest.raises(ConfigurationError, match="lacks 'Login Successful'"):
        _read(f"{RBA}\n{_rba(1)}".replace("Login Successful", "Login"))


def test_a_login_without_an_id_gets_the_same_one_each_time() -> None:
    """By what it says, in whichever format and order."""
    [by_json] = _read(json.dumps(ADA))
    [by_csv] = _read(_csv('ada,2026-01-01T00:00:00Z,203.0.113.7,"Mozilla/5.0 (X, Y)"'))
    [other] = _read(json.dumps(ADA | {"ip": "203.0.113.8"}))
    assert by_json.login["event_id"] == by_csv.login["event_id"] != other.login["event_id"]
    # As a database writes out what is not there.
    [by_null] = _read(json.dumps({"event_id": None} | ADA))
    assert by_null.login["event_id"] == by_json.login["event_id"]


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ("user_id,occurred_at,ip", "lacks 'user_agent'"),
        ("user_id,occurred_at,ip,user_agent,colour", "does not know 'colour'"),
        ("user_id,occurred_at,ip,user_agent,ip", "has twice 'ip'"),
        ("id,user_id,occurred_at,ip,user_agent", "does not know 'id'"),
    ],
)
def test_wrong_columns_are_named(columns: str, complaint: str) -> None:
    """At once, not line by line, with those that may be there."""
    with pytest.raises(ConfigurationError, match=complaint) as raised:
        _read(_csv(columns=columns))
    assert ", ".join(COLUMNS) in str(raised.value)


def test_a_bad_line_of_csv_stops_no_other() -> None:
    """Too few cells, too many, a stray quote, a line that is too long."""
    good = "ada,2026-01-01T00:00:00Z,203.0.113.7,x"
    lines = _read(_csv(good, "ada", good + ",y", 'a"da,"b"c,d,e', good + "z" * 65_536, good))
    assert [line.number for line in lines if line.login] == [2, 7]
    problems = {line.number: line.problem or "" for line in lines if line.problem}
    assert problems[3] == "has 1 columns, and the first line names 4"
    assert problems[4] == "has 5 columns, and the first line names 4"
    assert "is not CSV" in problems[5]
    assert problems[6] == "is larger than 64 KiB"


def test_a_quote_that_never_ends_names_where_it_begins() -> None:
    """What it has swallowed is not silently missing."""
    good = "ada,2026-01-01T00:00:00Z,203.0.113.7,x"
    lines = _read(_csv(good, 'ada,"2026', good, good))
    assert [line.number for line in lines if line.login] == [2]
    assert lines[-1].problem is not None
    assert "in what begins in line 3" in lines[-1].problem


@pytest.mark.parametrize(
    "first",
    ["user_id;occurred_at;ip;user_agent", "name,when,where", "\x1f\udc8b\x08", "2026-01-01 ada"],
)
def test_a_file_of_another_format_is_refused_at_once(first: str) -> None:
    """Not line by line, a million of them."""
    with pytest.raises(ConfigurationError, match="line 1 begins no JSON object") as raised:
        _read([first, json.dumps(ADA)])
    assert ", ".join(COLUMNS) in str(raised.value)
    assert [line.problem is None for line in _read([first, json.dumps(ADA)], Format.ndjson)] == [
        False,
        True,
    ]


def test_a_form_may_be_said(tmp_path: Any) -> None:
    """Where the first line looks like another."""
    with pytest.raises(ConfigurationError, match="a rba file lacks 'Login Timestamp'"):
        _read(_csv(), Format.rba)
    assert _read("user_id,1\n", Format.ndjson)[0].problem is not None


def test_columns_are_checked_before_anything_is_read() -> None:
    """Nothing is begun for a file of which nothing can be taken."""
    with pytest.raises(ConfigurationError, match="lacks 'user_agent'"):
        read_logins(iter(["user_id,occurred_at,ip\n"]))
