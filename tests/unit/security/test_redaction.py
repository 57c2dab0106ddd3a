"""What is taken out of a text before anybody else reads it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.model import Login
from services.gateway.acceptance import Submission
from services.observability.redaction import redact, redact_values
from tests.support.cluster import IPHONE, WINDOWS

COOKIE = "c0ok1e-of-ada"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("550 no <ada@example.org>: unknown", "550 no <[email]>: unknown"),
        ("GET /v1/users/ada%40example.org/devices", "GET /[email]/devices"),
        ("to ädä@exämple.org.", "to [email]."),
        ("from 203.0.113.7, then 203.0.113.8.", "from [ip], then [ip]."),
        ("from 2001:DB8:0::17: refused", "from [ip]: refused"),
        ("ip:2001:db8::17", "ip:[ip]"),
        ("[::ffff:203.0.113.7]:443", "[[ip]]:443"),
        (f"agent {WINDOWS} met", "agent [user agent] met"),
        (f'agent "{IPHONE}"', 'agent "[user agent]"'),
        ("pyamqp://gateway:s3cret@mq1:5672/x", "pyamqp://[secret]@mq1:5672/x"),
        ("Authorization: Bearer abcdefghijkl", "Authorization: Bearer [secret]"),
        ("signed by whsec_MfKQ9r8GKYqrTwjU", "signed by [secret]"),
        ("set-cookie: door=abc; Path=/; Secure, and so on", "set-cookie: [redacted], and so on"),
        ("refused password: hunter2", "refused password: [redacted]"),
        ("device_cookie='it\\'s'", "device_cookie='[redacted]'"),
        ('{"user_agent": "own app 1"}', '{"user_agent": "[redacted]"}'),
        (r'"{\"device_cookie\": \"c\"}"', r'"{\"device_cookie\": \"[redacted]\"}"'),
        ("ip=IPv4Address('203.0.113.7')", "ip=[redacted])"),
        ("input_value='own', input_type=str", "input_value='[redacted]', input_type=str"),
        (
            'null value in "ip"\nDETAIL:  Failing row contains (c0ok1e, a b).\nLINE 1: SELECT',
            'null value in "ip"\nDETAIL: [redacted]\nLINE 1: SELECT',
        ),
        (
            r"CheckViolation('new row\nDETAIL:  Failing row contains (c0ok1e).')",
            r"CheckViolation('new row\nDETAIL: [redacted]",
        ),
        (
            'invalid input syntax for type inet: "c0ok1e"',
            'invalid input syntax for type inet: "[redacted]"',
        ),
    ],
)
def test_what_is_personal_or_secret_goes(text: str, left: str) -> None:
    """Each kind of value is replaced by its kind, and what stands around it stays."""
    assert redact(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "the task db_writes.save_event of pool db_writes ended at 08:15:00.123",
        "workflow 0c6f1c3e-6f0f-4c53-9a1e-2f5a4f0e7b11: 3 steps in 0.25 s",
        'connection to server at "127.0.0.1", port 5432 failed: Connection refused',
        "listening on [::1]:8000 and 0.0.0.0:8000",
        "no queue for step x: doorbell 0.0.1.db_writes (312, NO_ROUTE)",
        "consumers of notifications@worker-1: 2",
        "send the header Authorization: Bearer <API key>",
        "Celery 5.7.0, RabbitMQ 3.10.8, std::vector, 12:34:56",
        'File "services/runner/executor.py", line 12, in run',
    ],
)
def test_what_operators_need_stays(text: str) -> None:
    """Ids, times, versions, hosts and loopback addresses are nobody's."""
    assert redact(text) == text


def test_a_login_in_an_error_says_nothing_of_the_person() -> None:
    """The whole report as Python shows it, which a bug may put into its error."""
    login = Login(
        workflow_id=UUID(int=1),
        tenant_id="shop",
        event_id="e-1",
        user_id="u-1",
        occurred_at=datetime(2026, 3, 1, tzinfo=UTC),
        ip="203.0.113.7",
        user_agent="own app 7",
        email="ada@example.org",
    )
    submission = Submission(login, "k-1", b"", COOKIE)
    for text in (
        *(repr(submission), repr(KeyError(submission))),
        repr({"found": repr(submission)}),
    ):
        left = redact(text)
        assert "u-1" in left
        for value in ("203.0.113.7", "own app", COOKIE, "ada@example"):
            assert value not in left, left


@settings(max_examples=40)
@given(
    st.emails().filter(lambda address: address[0].isalnum()),
    st.sampled_from(["", "a ", "<", "(", "'", '"', "=", "mailto:"]),
)
def test_no_mail_address_of_any_form_stays(address: str, before: str) -> None:
    """Whatever signs a mail address is made of, it is recognised."""
    left = redact(f"{before}{address} was refused")
    assert address not in left
    assert left.endswith("[email] was refused")


@given(st.ip_addresses(), st.sampled_from(["", "a ", "<", "(", "'", '"', "=", "ip:", "["]))
def test_no_ip_address_stays(address: IPv4Address | IPv6Address, before: str) -> None:
    """Addresses of both kinds go in every way of writing them, but for loopback."""
    for text in (str(address), address.exploded.upper()):
        left = redact(f"{before}{text} was refused")
        assert (text in left) == (address.is_loopback or address.is_unspecified)


@given(st.text(st.characters(exclude_categories=())))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    """Any text can be redacted, half surrogates too, and once is enough."""
    once = redact(text)
    assert redact(once) == once


@pytest.mark.parametrize(
    "piece", ["a", ":", "a:", "1.", "@", "email='", "Mozilla/5.0 (", "://", "\\", "DETAIL: ", "ip="]
)
def test_a_long_text_from_outside_takes_no_time(piece: str) -> None:
    """64 KiB made to be slow are redacted well within a log line's time."""
    begun = time.process_time()
    redact(piece * (65536 // len(piece)))
    assert time.process_time() - begun < 1


def test_values_are_redacted_wherever_they_are() -> None:
    """Texts in nested JSON, and fields by their names; numbers and names stay."""
    value = {
        "exc_type": "KeyError",
        "exc_message": ["from 203.0.113.7", {"device_cookie": COOKIE, "count": 3, "ip": None}],
    }
    assert redact_values(value) == {
        "exc_type": "KeyError",
        "exc_message": ["from [ip]", {"device_cookie": "[redacted]", "count": 3, "ip": None}],
    }
