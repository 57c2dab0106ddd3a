"""In which portions the lines of a file are put into an import."""

from __future__ import annotations

import json

import pytest

from services.cli import logins
from services.cli.importing import Outcome, _portions
from services.cli.login_files import Line, read_logins


def test_lines_that_are_no_json_are_named() -> None:
    """A bad line is reported by its number, and blank ones do not count."""
    [portion] = _portions(read_logins(["\n", "{\n", "\n", "nope\n"]))
    assert [each.line for each in portion.unreadable] == [2, 4]
    about = {"after": 0, "line": 4, "skipped": 0, "unreadable": 2, "logins": []}
    assert json.loads(portion.body(0)) == about


def test_portions_have_as_many_logins_as_the_gateway_takes() -> None:
    """Each goes on behind the one before; lines without a login take no place."""
    lines = [Line(n, {"event_id": str(n)} if n % 2 else None) for n in range(1, 4002)]
    portions = [*_portions(lines)]
    assert [(len(it.logins), it.skipped, it.line) for it in portions] == [
        (1000, 999, 1999),
        (1000, 1000, 3999),
        (1, 1, 4001),
    ]


def test_a_portion_is_json_with_the_numbers_of_its_lines() -> None:
    """Whatever the logins hold, half of a surrogate pair too."""
    logins = [{"user_id": "\N{DOOR}"}, {"user_id": '"\udcff', "ip": None}]
    [portion] = _portions(Line(number, login) for number, login in enumerate(logins, start=7))
    numbered = [{"line": 7, "login": logins[0]}, {"line": 8, "login": logins[1]}]
    assert json.loads(portion.body(6))["logins"] == numbered


def test_large_logins_and_many_bad_lines_make_small_portions() -> None:
    """A body stays below what the gateway takes, and it hears of a file without a login too."""
    large = [Line(n, {"user_agent": "x" * 60_000}) for n in range(1, 100)]
    assert {len(it.logins) for it in _portions(large)} == {35, 29}
    bad = [Line(n, problem="is not JSON") for n in range(1, 10_002)]
    assert [len(it.unreadable) for it in _portions(bad)] == [10_000, 1]


def test_what_is_not_begun_is_not_to_be_traced(capfd: pytest.CaptureFixture[str]) -> None:
    """It has no workflow before all of it is put in."""
    found = {"import_id": "1", "accepted": 0, "known": 0, "skipped": 0, "refused": 0}
    for state, is_traced in (("uploading", False), ("running", True)):
        logins._show(Outcome(found | {"state": state}), as_json=False)
        said = capfd.readouterr().err
        assert (f"the import is {state}" in said, "doorbell trace" in said) == (True, is_traced)
