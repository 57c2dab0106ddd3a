"""The table of game days in deploy/runbooks/README.md: what was seen last, a row for each alert."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.gamedays.runbook import RUNBOOKS

README = RUNBOOKS / "README.md"

_HEAD = "| alert | shown after | told after | mended within | told beside it | on |"
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


def rows() -> dict[str, Row]:
    """The table's rows by alert."""
    return {found[0]: Row(*found) for found in _ROW.findall(README.read_text())}


def write(news: Iterable[Row]) -> None:
    """Put rows in the place of those of the same alerts."""
    known = rows() | {row.alert: row for row in news}
    before, _, rest = README.read_text().partition(f"{_HEAD}\n")
    ruler, *lines = rest.splitlines(keepends=True)
    after = "".join(lines[len([line for line in lines if _ROW.match(line)]) :])
    table = "".join(f"{known[alert].line()}\n" for alert in sorted(known))
    README.write_text(f"{before}{_HEAD}\n{ruler}{table}{after}")
