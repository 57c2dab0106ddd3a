"""Which base backup a restore begins with, and which gaps in the WAL behind it stop one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_PROGRAM = Path(__file__).resolve().parents[2] / "ansible/roles/backup/files/choose_base_backup"
_SEGMENT_BYTES = 16 * 1024 * 1024


class Backups:
    """A directory of backups. Positions are numbers of WAL segments; a base backup begins and ends in one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def base(self, name: str, timeline: int, segment: int, *, ends_at: int | None = None) -> None:
        """A base backup; ends_at: in bytes, otherwise in the middle of its segment."""
        at = (segment * _SEGMENT_BYTES + 0x100) if ends_at is None else ends_at
        place = self._directory / "base" / name
        place.mkdir(parents=True)
        file = _name(timeline, segment)
        place.joinpath("backup_label").write_text(f"START WAL LOCATION: 0/0 (file {file})\n")
        place.joinpath("backup_manifest").write_text(
            f'{{ "Timeline": {timeline}, "Start-LSN": "0/0", "End-LSN": "{_position(at)}" }}\n'
        )

    def wal(self, archive: str, timeline: int, *segments: int, partial: int | None = None) -> None:
        place = self._directory / archive
        place.mkdir(exist_ok=True)
        for segment in segments:
            place.joinpath(_name(timeline, segment)).touch()
        if partial is not None:
            place.joinpath(f"{_name(timeline, partial)}.partial").touch()

    def history(self, archive: str, timeline: int, left: dict[int, int]) -> None:
        """What a timeline's file says: each one before it was left in the middle of a segment."""
        lines = (
            f"{parent}\t{_position(segment * _SEGMENT_BYTES + 0x200)}\tno reason\n"
            for parent, segment in left.items()
        )
        path = self._directory / archive / f"{timeline:08X}.history"
        path.write_text("".join(lines))

    def choose(self, wanted: str = "", **environment: str) -> tuple[int, list[str], str]:
        """Its exit code, its words, its complaint."""
        chosen = subprocess.run(
            [_PROGRAM, wanted],
            env=os.environ | {"BACKUP_DIRECTORY": str(self._directory)} | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return chosen.returncode, chosen.stdout.split(), chosen.stderr


def _name(timeline: int, segment: int) -> str:
    return f"{timeline:08X}{segment // 256:08X}{segment % 256:08X}"


def _position(at: int) -> str:
    return f"{at >> 32:X}/{at % 2**32:X}"


def restored(directory: Path) -> Backups:
    """Undone were segments 6 to 9 of timeline 1: a restore ended at noon, in segment 5."""
    backups = Backups(directory)
    backups.base("20261101T030000Z", 1, 2)
    backups.wal("wal.until-20261101T120000Z", 1, *range(2, 9), partial=9)
    return backups


def test_all_there_is_is_the_newest_timeline(tmp_path: Path) -> None:
    """From the base backup before the restore, as long as there is no newer one."""
    backups = restored(tmp_path)
    backups.wal("wal", 2, 5, 6, partial=7)
    backups.history("wal", 2, {1: 5})
    first = ["20261101T030000Z", _name(1, 2)]
    assert backups.choose()[:2] == (0, [*first, "2", "wal", "-"])
    backups.base("20261101T121000Z", 2, 6)
    assert backups.choose()[1][0] == "20261101T121000Z"


def test_what_was_undone_is_had_by_its_archive_or_a_time_in_it(tmp_path: Path) -> None:
    """Nothing that came after is read for it."""
    backups = restored(tmp_path)
    backups.wal("wal", 2, 5, 6, partial=7)
    backups.history("wal", 2, {1: 5})
    chosen = ["20261101T030000Z", _name(1, 2), "1", "wal.until-20261101T120000Z"]
    assert backups.choose("wal.until-20261101T120000Z")[:2] == (0, [*chosen, "-"])
    time = "2026-11-01T10:30:00.000000000+00:00"
    for wanted in ("2026-11-01 10:30", "2026-11-01 11:30:00+01", "2026-11-01T10:30:00Z"):
        assert backups.choose(wanted)[:2] == (0, [*chosen, time])


def test_a_segment_of_what_was_undone_fills_no_gap(tmp_path: Path) -> None:
    """PostgreSQL does not go back to a timeline that was left before."""
    backups = restored(tmp_path)
    backups.wal("wal", 2, 5, 7, partial=8)
    backups.history("wal", 2, {1: 5})
    code, words, complaint = backups.choose()
    assert (code, words) == (1, [])
    assert f"segment {_name(2, 6)[8:]} of timeline 2 is missing" in complaint
    assert backups.choose(RESTORE_UP_TO_GAP="true")[0] == 0
    assert backups.choose("2026-11-01 13:00")[0] == 0


def test_a_gap_in_what_was_undone_stops_nothing(tmp_path: Path) -> None:
    """Nor does one before the base backup."""
    backups = Backups(tmp_path)
    backups.base("20261101T030000Z", 1, 2)
    backups.wal("wal.until-20261101T110000Z", 1, *range(2, 6))
    backups.base("20261101T113000Z", 1, 30)
    backups.wal("wal.until-20261101T120000Z", 1, 30, 33)
    backups.wal("wal", 2, 4, 5, 6, partial=7)
    backups.history("wal", 2, {1: 4})
    assert backups.choose()[:2] == (0, ["20261101T030000Z", _name(1, 2), "2", "wal", "-"])


def test_a_segment_that_was_not_finished_is_the_end(tmp_path: Path) -> None:
    """One with others behind it is a gap; the one that a timeline's change has cut off is not."""
    backups = Backups(tmp_path)
    backups.base("20261101T030000Z", 1, 2)
    backups.wal("wal", 1, 3, 5, partial=4)
    assert backups.choose()[0] == 1
    backups.wal("wal", 1, 4)
    assert backups.choose()[0] == 0


def test_a_base_backup_may_end_with_its_segment(tmp_path: Path) -> None:
    """What follows is the very next one."""
    backups = Backups(tmp_path)
    backups.base("20261101T030000Z", 1, 2, ends_at=3 * _SEGMENT_BYTES)
    backups.wal("wal", 1, 4)
    assert backups.choose()[0] == 1
    backups.wal("wal", 1, 3)
    assert backups.choose()[0] == 0
