"""Cookies are known again by who made them, and by nobody else's key."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from services.domain.device_cookie import make_cookie, workflow_of

KEY = UUID("6f1d3f0a-5d0e-4c39-9f57-0a6b1f6f2b11")
WORKFLOW = UUID("0c6f1c3e-6f0f-4c53-9a1e-2f5a4f0e7b11")


def test_a_cookie_leads_back_to_its_workflow() -> None:
    """The same each time, and short enough for any device."""
    cookie = make_cookie(KEY, WORKFLOW)
    assert cookie == make_cookie(KEY, WORKFLOW)
    assert len(cookie) == 48
    assert workflow_of(KEY, cookie) == WORKFLOW


def test_another_tenants_cookie_is_none() -> None:
    """Each tenant has a key of its own."""
    assert workflow_of(KEY, make_cookie(uuid4(), WORKFLOW)) is None


@pytest.mark.parametrize("place", range(48))
def test_each_character_counts(place: int) -> None:
    """Also those of which base64 leaves bits unused."""
    cookie = make_cookie(KEY, WORKFLOW)
    for other in "AEgw.\u00c4":
        changed = cookie[:place] + other + cookie[place + 1 :]
        assert changed == cookie or workflow_of(KEY, changed) is None


@pytest.mark.parametrize("cookie", ["", "d1..", "device-1", "d1." + "A" * 45, "d2" + "x" * 46])
def test_what_is_no_cookie_is_none(cookie: str) -> None:
    """And raises nothing."""
    assert workflow_of(KEY, cookie) is None
