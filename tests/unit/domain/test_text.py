"""Whatever others write stands on one line and leaves the rest alone."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from services.domain.text import one_line


@given(st.text(max_size=300), st.integers(1, 80))
def test_any_text_becomes_one_line(text: str, longest: int) -> None:
    """Of at most so many characters, none of them unseen; and once is enough."""
    line = one_line(text, longest)
    assert len(line) <= longest
    assert all(unicodedata.category(char)[0] != "C" for char in line)
    assert line.splitlines() in ([], [line])
    assert one_line(line, longest) == line


def test_words_stay_words() -> None:
    """Line ends and tabs are spaces, and what is not seen is nothing."""
    assert one_line(" a\r\n\tb\u2028c\u200bd ", 80) == "a b cd"


def test_no_stack_of_marks_and_no_blank_letter_is_left() -> None:
    """Also of marks that combine in their own way."""
    assert one_line("a" + "\u0489" * 30 + "b", 80) == "a\u0489\u0489b"
    assert one_line("a\u3164\u2800b", 80) == "ab"


def test_a_long_text_says_that_it_goes_on() -> None:
    """It is cut, not lost."""
    assert one_line("abcdef", 4) == "abc\u2026"
