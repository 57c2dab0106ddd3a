"""Values survive being a message."""

from __future__ import annotations

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.errors import DoorbellError, Unavailable
from services.domain.model import DeviceCheck, Level, Verdict

ids = st.uuids()


@given(workflow=ids, device=ids, is_new=st.booleans(), is_first=st.booleans())
def test_a_device_check_survives_json(
    workflow: UUID, device: UUID, is_new: bool, is_first: bool
) -> None:
    """What one step returns is what the next one gets."""
    check = DeviceCheck(workflow, device, is_new, is_first)
    assert DeviceCheck.from_message(json.loads(json.dumps(check.to_message()))) == check


@given(
    workflow=ids,
    score=st.none() | st.floats(0, 1),
    reasons=st.lists(st.text(max_size=20), max_size=4),
    version=st.none() | st.text(max_size=10),
)
def test_a_verdict_survives_json(
    workflow: UUID, score: float | None, reasons: list[str], version: str | None
) -> None:
    """Also an unscored one."""
    level: Level = "unscored" if score is None else "high"
    verdict = Verdict(workflow, level, "challenge", score, tuple(reasons), version, "r-1")
    assert Verdict.from_message(json.loads(json.dumps(verdict.to_message()))) == verdict


@pytest.mark.parametrize(
    ("error", "text"),
    [
        # What was said is kept.
        (Unavailable("no answer"), "no answer"),
        # Unsaid, the class explains itself in one line.
        (
            Unavailable(),
            "Something outside did not answer; the step is tried again by its retry policy.",
        ),
        (DoorbellError(), "Something Doorbell expected might go wrong."),
    ],
)
def test_errors_speak(error: DoorbellError, text: str) -> None:
    """No error is an empty line in a log."""
    assert str(error) == text
