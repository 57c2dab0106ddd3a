"""JSON from outside: read strictly, and never an unexpected exception."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.strict_json import MalformedJson, parse, render


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "Expecting value"),
        (b"{", "property name"),
        (b'{"a": 1,}', "line 1"),
        (b'{"a": 1} x', "Extra data"),
        (b'{"a": 1, "a": 2}', "'a' occurs twice"),
        (b'{"x": {"b": 1, "b": 1}}', "'b' occurs twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": "\xff"}', "not UTF-8 (byte 7)"),
        (b"\xef\xbb\xbf{}", "line 1"),
        (b'"a\x00b"', "control character"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"9" * 10_000, "digits"),
    ],
)
def test_malformed_json_is_refused_with_a_reason(body: bytes, complaint: str) -> None:
    """Whatever is not plain JSON is refused by a sentence that says why."""
    with pytest.raises(MalformedJson, match=complaint.replace("(", r"\(").replace(")", r"\)")):
        parse(body)


@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """No input raises anything but MalformedJson."""
    with suppress(MalformedJson):
        parse(body)


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_values)
def test_what_python_writes_is_read_back(value: object) -> None:
    """Strictness costs no valid document."""
    assert parse(json.dumps(value).encode()) == value


def test_rendering_survives_half_a_surrogate_pair() -> None:
    """A field name that UTF-8 cannot carry still has a place in a problem document."""
    assert render({"\ud800": 1}) == b'{"\\ud800":1}'
