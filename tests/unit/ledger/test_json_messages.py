"""Messages' JSON is read as kombu reads it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.exceptions import DecodeError
from kombu.serialization import dumps
from kombu.serialization import loads as loads_message
from kombu.utils import json as kombu_json

from services.ledger.json_messages import loads, read_quickly

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.uuids()
    | st.datetimes(timezones=st.just(UTC))
    | st.dates()
    | st.decimals(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    read_quickly()


@given(VALUES)
def test_every_value_is_what_kombu_makes_of_it(value: Any) -> None:
    """As text, as bytes, and with what is beyond ASCII written out or not."""
    for text in (kombu_json.dumps(value), kombu_json.dumps(value, ensure_ascii=False)):
        try:
            data = text.encode()
        except UnicodeEncodeError:
            continue
        assert loads(text) == loads(data) == kombu_json.loads(text)


@pytest.mark.parametrize("value", [UUID(int=7), date(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC)])
def test_what_json_has_no_form_for_comes_back(value: Any) -> None:
    """Also when its mark is written in escapes."""
    kind, encoding, text = dumps({"at": [value]}, serializer="json")
    escaped = str(text).replace("__type__", "__\\u0074ype__")
    for each in (text, escaped):
        assert loads_message(each, kind, encoding, accept={kind}) == {"at": [value]}


@pytest.mark.parametrize("data", [b"{", b"\xff", "nothing", b"[1,]"])
def test_what_cannot_be_read_is_said_as_before(data: Any) -> None:
    """kombu's own error, over which a message is dead-lettered."""
    with pytest.raises(DecodeError):
        loads_message(data, "application/json", "utf-8", accept={"application/json"}, force=True)


def test_plain_json_asks_python_about_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder is given no function to call."""
    given_hooks: list[Any] = []
    decode = json.loads

    def spy(text: str, **options: Any) -> Any:
        given_hooks.append(options.get("object_hook"))
        return decode(text, **options)

    monkeypatch.setattr(json, "loads", spy)
    loads(b'[{"a": {}}]')
    assert given_hooks == [None]
