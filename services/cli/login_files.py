"""Reads logins from files: NDJSON, CSV, and the CSV of the public RBA data set."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from math import isinf
from typing import Any

from services.domain.errors import ConfigurationError
from services.domain.json_objects import once_each

LOGIN_BYTES = 64 * 1024
"""The gateway takes no larger login."""

COLUMNS = (
    *("user_id", "occurred_at", "ip", "user_agent", "event_id", "successful"),
    *("device_cookie", "auth_method", "email", "other_email", "locale", "time_zone", "kind"),
)
"""Of a CSV file, in any order; the first four are needed. Its first line names them."""

_NEEDED = COLUMNS[:4]
_SUCCESSFUL = "successful"
_FALSE = frozenset({"false", "0", "no"})
_TRUE = frozenset({"true", "1", "yes", ""})
_RBA = {
    "Login Timestamp": "occurred_at",
    "User ID": "user_id",
    "IP Address": "ip",
    "User Agent String": "user_agent",
}
_RBA_SUCCESSFUL, _RBA_TAKEOVER, _RBA_INDEX = "Login Successful", "Is Account Takeover", "index"


class Format(StrEnum):
    """What a file holds; auto: its first line says."""

    auto = "auto"
    ndjson = "ndjson"
    csv = "csv"
    rba = "rba"


@dataclass(frozen=True, slots=True)
class Line:
    """One login of a file, by the number of its (last) line.

    login: as the gateway takes it; what it is, the gateway says. problem: why it cannot be read, instead.
    Without both it is skipped: it failed, or was an attacker's.
    """

    number: int
    login: Any = None
    problem: str | None = None

    @property
    def is_skipped(self) -> bool:
        return self.login is None and self.problem is None


def read_logins(lines: Iterable[str], form: Format = Format.auto) -> Iterator[Line]:
    """The logins of a file, line by line; blank lines are none.

    A login without an `event_id` gets one that is made of its contents, so that
    it counts once however often it is read.

    Raises:
        ConfigurationError: the first line of a CSV file does not name the columns, or is that of neither format.
    """
    rest = iter(lines)
    first = next(rest, "")
    whole = chain([first.removeprefix("\ufeff")], rest)
    if form is Format.auto:
        form = _form_of(first)
    if form is Format.ndjson:
        return _ndjson(whole)
    return _csv(whole, _rba_login if form is Format.rba else _csv_login, form)


def _form_of(first: str) -> Format:
    if "User Agent String" in first:
        return Format.rba
    text = first.removeprefix("\ufeff").strip()
    if not text or text[0] in "{[":
        return Format.ndjson
    names = [name.strip().strip('"') for name in text.split(",")]
    if names[0] in COLUMNS or any(name in _NEEDED for name in names):
        return Format.csv
    # Of a file that is something else every line would be bad.
    raise ConfigurationError(
        "line 1 begins no JSON object, and names no columns of a CSV file with commas between them:"
        f" {', '.join(COLUMNS)}. Unpack a compressed file first; --format ndjson reads on behind a bad line"
    )


def _ndjson(lines: Iterable[str]) -> Iterator[Line]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _json_login(number, line)


def _json_login(number: int, line: str) -> Line:
    if len(line) > LOGIN_BYTES:
        return Line(number, problem="is larger than 64 KiB")
    try:
        value = _decoder.decode(line)
    except ValueError as error:
        return Line(number, problem=f"is not JSON: {error}")
    except RecursionError:
        return Line(number, problem="is nested too deeply")
    if not isinstance(value, dict):
        return Line(number, problem="is no JSON object with a login's fields")
    success = value.pop(_SUCCESSFUL, True)
    if not isinstance(success, bool):
        return Line(number, problem="successful: must be true or false")
    return Line(number, _with_id(value)) if success else Line(number)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no value")


def _finite(text: str) -> float:
    if isinf(value := float(text)):
        raise ValueError(f"{text[:20]} is too large a number")
    return value


_decoder = json.JSONDecoder(
    object_pairs_hook=once_each, parse_constant=_refuse_constant, parse_float=_finite
)


def _csv(
    lines: Iterable[str], login_of: Callable[[int, Mapping[str, str]], Line], form: Format
) -> Iterator[Line]:
    reader = csv.reader(lines, strict=True)
    # Before anything is begun: of a file without them nothing can be taken.
    return _rows(reader, _columns(reader, form), login_of)


def _rows(
    reader: Any, columns: Sequence[str], login_of: Callable[[int, Mapping[str, str]], Line]
) -> Iterator[Line]:
    while True:
        begun = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            where = f", in what begins in line {begun}" if begun < reader.line_num else ""
            yield Line(reader.line_num, problem=f"is not CSV{where}: {error}")
            continue
        if not row:
            continue
        if sum(map(len, row)) > LOGIN_BYTES:
            yield Line(reader.line_num, problem="is larger than 64 KiB")
        elif len(row) != len(columns):
            problem = f"has {len(row)} columns, and the first line names {len(columns)}"
            yield Line(reader.line_num, problem=problem)
        else:
            yield login_of(reader.line_num, dict(zip(columns, row, strict=True)))


def _columns(reader: Iterator[list[str]], form: Format) -> list[str]:
    try:
        columns = next(reader, [])
    except csv.Error as error:
        raise ConfigurationError(f"line 1 is not CSV: {error}") from error
    # Whoever cannot tell which logins failed would teach that attackers are the user.
    needed = (*_RBA, _RBA_SUCCESSFUL) if form is Format.rba else _NEEDED
    missing = [name for name in needed if name not in columns]
    strange = [] if form is Format.rba else [name for name in columns if name not in COLUMNS]
    twice = sorted({name for name in columns if columns.count(name) > 1})
    for what, names in (("lacks", missing), ("does not know", strange), ("has twice", twice)):
        if names:
            raise ConfigurationError(
                f"line 1: a {form.value} file {what} {', '.join(map(repr, names))}:"
                f" its columns are {', '.join(needed if form is Format.rba else COLUMNS)}"
            )
    return columns


def _csv_login(number: int, row: Mapping[str, str]) -> Line:
    success = row.get(_SUCCESSFUL, "").strip().lower()
    if success in _FALSE:
        return Line(number)
    if success not in _TRUE:
        return Line(number, problem=f"successful is {success!r}: it must be true or false")
    given = {
        name: value
        for name, value in row.items()
        if name != _SUCCESSFUL and (value or name in _NEEDED)
    }
    return Line(number, _with_id(given))


def _rba_login(number: int, row: Mapping[str, str]) -> Line:
    success = row[_RBA_SUCCESSFUL].strip().lower()
    takeover = row.get(_RBA_TAKEOVER, "").strip().lower()
    for name, value in ((_RBA_SUCCESSFUL, success), (_RBA_TAKEOVER, takeover or "no")):
        if value not in _TRUE | _FALSE or not value:
            return Line(number, problem=f"{name} is {value!r}: it must be true or false")
    # An attacker who got in would teach that he is the user.
    if success in _FALSE or (takeover and takeover in _TRUE):
        return Line(number)
    login = {name: row[column] for column, name in _RBA.items()}
    # The data set's times are UTC and do not say so.
    login["occurred_at"] += "Z"
    if index := row.get(_RBA_INDEX):
        login["event_id"] = f"rba-{index}"
    return Line(number, _with_id(login))


def _with_id(login: dict[str, Any]) -> dict[str, Any]:
    if login.get("event_id") is not None:
        return login
    facts = json.dumps([login.get(name) for name in _NEEDED])
    digest = hashlib.sha256(facts.encode(errors="surrogatepass")).hexdigest()
    return login | {"event_id": f"import-{digest[:32]}"}
