"""The tables of game days in deploy/runbooks/README.md: what was seen last in a place, a row for each alert."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.gamedays.runbook import RUNBOOKS, Place

README = RUNBOOKS / "README.md"

_COLUMNS = "| shown after | told after | mended within | told beside it | on |"
_HEADS: dict[Place, str] = {
    "local": f"| alert {_COLUMNS}",
    "containers": f"| alert, in containers {_COLUMNS}",
    "hosts": f"| alert, on hosts {_COLUMNS}",
}
_ROW = re.compile(
    r"^\| \[(\w+)\]\(\1\.md\) \| (.*) \| (.*) \| (.*) \| (.*) \| (.*) \|$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Row:
    """A game day: seconds from the fault to Prometheus' having its condition, to the page, and from then to the page's
    Verify; and who else was told of.
    """

    alert: str
    shown: str = "-"
    told: str = "-"
    mended: str = "-"
    others: str = ""
    on: str = "not yet"

    def line(self) -> str:
        link = f"[{self.alert}]({self.alert}.md)"
        return (
            f"| {link} | {self.shown} | {self.told} | {self.mended} | {self.others} | {self.on} |"
        )


def seen(alert: str, shown: float, told: float, mended: float, others: Iterable[str]) -> Row:
    """A row of today."""
    return Row(
        alert,
        f"{shown:.0f} s",
        f"{told:.0f} s",
        f"{mended:.0f} s",
        ", ".join(others),
        datetime.now(UTC).date().isoformat(),
    )


def rows(place: Place = "local") -> dict[str, Row]:
    """A table's rows by alert."""
    _, _, lines, _ = _parts(place)
    return {row.alert: row for row in (Row(*found) for found in _ROW.findall(lines))}


def write(news: Iterable[Row], place: Place = "local") -> None:
    """Put rows in the place of those of the same alerts."""
    known = rows(place) | {row.alert: row for row in news}
    before, head, _, after = _parts(place)
    table = "".join(f"{known[alert].line()}\n" for alert in sorted(known))
    README.write_text(f"{before}{head}{table}{after}")


def _parts(place: Place) -> tuple[str, str, str, str]:
    """What stands before a table, its head, its rows, and what stands behind it."""
    before, head, rest = README.read_text().partition(f"{_HEADS[place]}\n")
    ruler, *lines = rest.splitlines(keepends=True)
    number = next((i for i, line in enumerate(lines) if not _ROW.match(line)), len(lines))
    return before, head + ruler, "".join(lines[:number]), "".join(lines[number:])
