"""What a reported login may hold, field by field."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.reports import as_login, body_sha256, read_report

NOW = datetime(2030, 1, 31, 8, 15, tzinfo=UTC)
VALID: dict[str, Any] = {
    "event_id": "e-1",
    "user_id": "u-1",
    "occurred_at": "2030-01-31T08:15:00Z",
    "ip": "192.0.2.1",
    "user_agent": "Mozilla/5.0",
}


def refused(changes: dict[str, Any], key: str | None = None) -> dict[str, str]:
    """The messages by field for a valid login with these changes."""
    report, errors = read_report(VALID | changes, key, NOW)
    assert report is None
    return {error.field: error.message for error in errors}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ip": "10.0.0.1"},
        {"ip": "2001:db8::1"},
        {"ip": "::1"},
        {"user_agent": ""},
        {"user_agent": "x" * 2048},
        {"user_id": "\U0001f600 Ünïcode 名前"},
        {"user_id": "x" * 200},
        {"user_id": "..."},
        {"user_id": "a/../.b"},
        {"occurred_at": "2030-01-31T10:15:00.123456+02:00"},
        {"occurred_at": "2030-01-31T08:20:00Z"},
        {"occurred_at": "2029-11-02T08:15:00Z"},
        {"email": "ada@example.org", "locale": "en-GB", "auth_method": "passkey"},
        {"email": None, "device_cookie": None},
        {"device_cookie": "c" * 512},
        {"device_cookie": "x" * 5000},
        {"device_cookie": ""},
        {"device_cookie": "a\tb\udc80"},
    ],
)
def test_a_valid_login_is_read(changes: dict[str, Any]) -> None:
    """Every legitimate spelling of a login is taken."""
    report, errors = read_report(VALID | changes, None, NOW)
    assert not errors
    assert report is not None


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("user_id", "", "at least 1 character"),
        ("user_id", "x" * 201, "at most 200"),
        ("user_id", 5, "valid string"),
        ("user_id", None, "valid string"),
        ("user_id", ["u"], "valid string"),
        ("user_id", True, "valid string"),
        ("user_id", "a\x00b", "U+0000"),
        ("user_id", "a\r\nBcc: x@example.org", "U+000D"),
        ("user_id", "a\u2028b", "U+2028"),
        ("user_id", "\ud800", "surrogate"),
        ("user_id", ".", "must not be . or .."),
        ("user_id", "..", "must not be . or .."),
        ("event_id", "", "at least 1 character"),
        ("event_id", "x" * 201, "at most 200"),
        ("event_id", "\x00", "U+0000"),
        ("user_agent", None, "valid string"),
        ("ip", "", "not an IPv4 or IPv6 address"),
        ("ip", "300.1.1.1", "not an IPv4 or IPv6 address"),
        ("ip", "192.0.2.1/24", "not an IPv4 or IPv6 address"),
        ("ip", "01.2.3.4", "not an IPv4 or IPv6 address"),
        ("ip", "192.0.2.1:443", "not an IPv4 or IPv6 address"),
        ("ip", "fe80::1%eth0", "zone"),
        ("ip", "x" * 10_000, "at most 100"),
        ("ip", 3221225985, "valid string"),
        ("occurred_at", "2030-01-31T08:15:00", "has no time zone: write it behind"),
        ("occurred_at", "2030-01-31T08:20:01Z", "future"),
        ("occurred_at", "2029-01-30T08:14:59Z", "365 days"),
        ("occurred_at", "1999-01-01T00:00:00Z", "10 years"),
        ("occurred_at", "0001-01-01T00:00:00+14:00", "calendar"),
        ("occurred_at", "9999-12-31T23:59:59-14:00", "calendar"),
        ("occurred_at", "yesterday", "ISO 8601"),
        ("occurred_at", 1896077700, "must be a string"),
        ("occurred_at", "2030-01-31T08:15:61Z", "ISO 8601"),
        ("email", "ada", "not a mail address"),
        ("email", "ada@localhost", "not a mail address"),
        ("email", "a@example.org\nBcc: b@example.org", "U+000A"),
        ("email", "a@example.org, b@example.org", "not a mail address"),
        ("email", "Ada <ada@example.org>", "not a mail address"),
        ("email", "x" * 250 + "@e.org", "at most 254"),
        ("other_email", "Ada <ada@example.org>", "not a mail address"),
        ("locale", "../../etc", "is not one language like de or en-GB"),
        ("locale", "en\n", "is not one language like de or en-GB"),
        ("locale", "de-DE,de;q=0.9", "is not one language like de or en-GB"),
        ("auth_method", "x" * 51, "at most 50"),
        ("device_cookie", 7, "valid string"),
        ("colour", "red", "not a field of a login"),
    ],
)
def test_a_wrong_value_is_refused_by_its_field(field: str, value: Any, complaint: str) -> None:
    """Each wrong value is refused with the field's name and what is wrong."""
    errors = refused({field: value})
    assert list(errors) == [field]
    assert complaint in errors[field]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("x" * 100_000, "x" * 2048),
        ("curl/8\x00\r\nBcc: x", "curl/8   Bcc: x"),
        ("Mozilla\udc80/5.0", "Mozilla /5.0"),
    ],
)
def test_no_user_agent_keeps_a_login_from_being_reported(sent: str, kept: str) -> None:
    """It is the visitor's to choose, who may not want to be seen."""
    report, errors = read_report(VALID | {"user_agent": sent}, None, NOW)
    assert not errors
    assert report is not None
    assert report.user_agent == kept


@pytest.mark.parametrize("field", ["user_id", "occurred_at", "ip", "user_agent"])
def test_a_missing_field_is_named(field: str) -> None:
    """A required field that is not there is named."""
    report, errors = read_report({k: v for k, v in VALID.items() if k != field}, None, NOW)
    assert report is None
    assert [(error.field, error.message) for error in errors] == [(field, "is required")]


def test_every_mistake_is_reported_at_once() -> None:
    """A sender who made three mistakes hears of three."""
    assert set(refused({"ip": "x", "user_id": "", "colour": 1})) == {"ip", "user_id", "colour"}


def test_a_name_that_utf8_cannot_carry_is_refused() -> None:
    """Half of a surrogate pair as a field's name is one more mistake, not a crash."""
    assert refused({"\ud800": 1}) == {"": "contains half of a surrogate pair"}


def test_a_flood_of_mistakes_is_cut_off() -> None:
    """A body of unknown fields does not come back as an endless answer."""
    assert len(refused({f"x{number}": 1 for number in range(1000)})) == 20
    [field] = refused({"y" * 5000: 1})
    assert len(field) == 100


def test_an_event_id_is_needed_unless_a_key_was_sent() -> None:
    """Without either, a lost answer would make one login count twice."""
    body = {k: v for k, v in VALID.items() if k != "event_id"}
    _, errors = read_report(body, None, NOW)
    assert [error.field for error in errors] == ["event_id"]
    report, errors = read_report(body, "key-1", NOW)
    assert not errors
    assert report is not None
    assert as_login(report, uuid4(), "acme", "key-1").event_id == "key-1"


@pytest.mark.parametrize("value", [None, [], "x", 5, True, [VALID]])
def test_a_login_is_an_object(value: object) -> None:
    """Any other JSON value is refused as a whole."""
    report, errors = read_report(value, None, NOW)
    assert report is None
    assert [error.field for error in errors] == [""]


def test_a_mapped_address_is_the_ipv4_address() -> None:
    """A peer seen through a dual-stack socket is the same peer."""
    report, _ = read_report(VALID | {"ip": "::ffff:192.0.2.1"}, None, NOW)
    assert report is not None
    assert report.ip == "192.0.2.1"


def test_equal_logins_have_equal_digests_however_they_are_written() -> None:
    """Order of fields, time zone and spelled-out nulls do not make another login."""
    report, _ = read_report(VALID, None, NOW)
    other = dict(reversed(VALID.items())) | {
        "occurred_at": "2030-01-31T10:15:00+02:00",
        "email": None,
    }
    same, _ = read_report(other, None, NOW)
    assert report is not None
    assert same is not None
    assert body_sha256(report) == body_sha256(same)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("user_id", "u-2"),
        ("ip", "192.0.2.2"),
        ("user_agent", ""),
        ("email", "a@example.org"),
        ("other_email", "a@example.org"),
    ],
)
def test_a_different_login_has_another_digest(field: str, value: str) -> None:
    """Any change of content is another body."""
    report, _ = read_report(VALID, None, NOW)
    other, _ = read_report(VALID | {field: value}, None, NOW)
    assert report is not None
    assert other is not None
    assert body_sha256(report) != body_sha256(other)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*VALID, "email", "locale", "x"]), _json))
def test_any_json_is_read_or_refused_by_field(changes: dict[str, Any]) -> None:
    """No JSON value gets past the checks by raising."""
    report, errors = read_report(VALID | changes, None, NOW)
    assert (report is None) == bool(errors)
    assert all(error.message for error in errors)


@given(st.datetimes(timezones=st.timezones()))
def test_any_time_is_judged(occurred_at: datetime) -> None:
    """Times at the edges of the calendar are judged like others."""
    report, _ = read_report(VALID | {"occurred_at": occurred_at.isoformat()}, None, NOW)
    if report is not None:
        assert NOW - timedelta(days=365) <= report.occurred_at <= NOW + timedelta(minutes=5)
