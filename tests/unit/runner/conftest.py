"""What tests of the styles share."""

from __future__ import annotations

import pytest

from services.runner.pace import Pace


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long the lists were that a pace has been told of."""
    lengths: list[int] = []
    tell = Pace.note

    def note(self: Pace, began_at: float, steps: int) -> None:
        lengths.append(steps)
        tell(self, began_at, steps)

    monkeypatch.setattr(Pace, "note", note)
    return lengths
