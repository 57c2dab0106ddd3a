"""Links of notices: nobody makes one, or makes another of one."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from string import ascii_letters, digits
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.notice_link import LIFETIMES, LinkAct, make_token, read_token

KEY, NOTICE = UUID(int=7), UUID(int=9)
AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize("act", ["confirm", "disown", "unsubscribe"])
def test_a_token_says_what_it_is_for(act: LinkAct) -> None:
    """The same each time, so that every attempt at a notice sends the same."""
    token = make_token(KEY, NOTICE, act, AT)
    assert token == make_token(KEY, NOTICE, act, AT)
    assert re.fullmatch(r"[\w.-]{54}", token)
    link = read_token(token)
    assert link is not None
    assert (link.notice_id, link.act, link.expires_at) == (NOTICE, act, AT + LIFETIMES[act])
    assert link.is_signed_with(KEY)


def test_another_tenants_key_signs_nothing() -> None:
    """Each has its own."""
    link = read_token(make_token(uuid4(), NOTICE, "confirm", AT))
    assert link is not None
    assert not link.is_signed_with(KEY)


@given(st.integers(0, 53), st.characters(codec="ascii"))
def test_a_changed_character_spoils_it(place: int, character: str) -> None:
    """Wherever it is."""
    token = make_token(KEY, NOTICE, "disown", AT)
    changed = token[:place] + character + token[place + 1 :]
    link = read_token(changed)
    assert changed == token or link is None or not link.is_signed_with(KEY)


def test_a_token_has_one_spelling() -> None:
    """Base64 reads the last character only in part: fifteen others would stand for the same bytes."""
    token = make_token(KEY, NOTICE, "disown", AT)
    links = (read_token(token[:-1] + last) for last in f"{ascii_letters}{digits}-_")
    assert [link.is_signed_with(KEY) for link in links if link].count(True) == 1


@given(st.text(max_size=80) | st.from_regex(r"n1\.[\w-]{28}\.[\w-]{22}", fullmatch=True))
def test_anything_else_is_nothing_that_was_signed(text: str) -> None:
    """Whatever it looks like, nothing is raised."""
    link = read_token(text)
    assert link is None or not link.is_signed_with(KEY)


def test_a_token_for_something_else_is_none() -> None:
    """Also when its signature would fit."""
    good = urlsafe_b64decode(make_token(KEY, NOTICE, "confirm", AT).split(".")[1])
    token = make_token(KEY, NOTICE, "confirm", AT).split(".")
    token[1] = urlsafe_b64encode(b"x" + good[1:]).decode()
    assert read_token(".".join(token)) is None


def test_each_notice_and_act_and_time_has_its_own() -> None:
    """A link is good for one thing alone."""
    tokens = {
        make_token(KEY, notice, act, at)
        for notice in (NOTICE, uuid4())
        for act in ("confirm", "disown")
        for at in (AT, AT + timedelta(seconds=1))
    }
    assert len(tokens) == 8
