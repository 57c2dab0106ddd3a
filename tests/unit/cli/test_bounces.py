"""What came back, as mail servers write it."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.bounces import Bounce, read_bounce

NOTICE = UUID("0a3f7e52-6a52-4a37-9c43-35c0f1a0c001")

POSTFIX = f"""\
From: MAILER-DAEMON@mail.example.org (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: doorbell@example.org
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="3F2A1.1795929135/mail.example.org"

This is a MIME-encapsulated message.

--3F2A1.1795929135/mail.example.org
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

<ada@example.net>: host mx.example.net said: 550 5.1.1 unknown user

--3F2A1.1795929135/mail.example.org
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mail.example.org
Arrival-Date: Sun, 29 Nov 2026 05:12:15 +0000 (UTC)

Final-Recipient: rfc822; ada@example.net
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.example.net
Diagnostic-Code: smtp; 550 5.1.1 unknown user

--3F2A1.1795929135/mail.example.org
Content-Description: Undelivered Message
Content-Type: message/rfc822

From: Doorbell <doorbell@example.org>
To: ada@example.net
Subject: New sign-in to The Shop
Message-ID: <{NOTICE}@doorbell>
Content-Type: text/plain

You signed in.

--3F2A1.1795929135/mail.example.org--
"""
"""In the form of Postfix's bounces; names and ids are made up."""

WITH_HEADERS_ALONE = (
    POSTFIX.replace("Content-Type: message/rfc822", "Content-Type: text/rfc822-headers")
    .replace("\nYou signed in.\n", "")
    .replace("Status: 5.1.1", "Status: 5.7.1 (delivery not authorized)")
)


@pytest.mark.parametrize(
    ("mail", "bounce"),
    [
        (POSTFIX, Bounce(NOTICE, "5.1.1")),
        (POSTFIX.replace("\n", "\r\n"), Bounce(NOTICE, "5.1.1")),
        (WITH_HEADERS_ALONE, Bounce(NOTICE, "5.7.1")),
        (POSTFIX.replace("Action: failed", "action:  FAILED"), Bounce(NOTICE, "5.1.1")),
        (POSTFIX.replace("Status: 5.1.1\n", ""), Bounce(NOTICE, "5.0.0")),
        (POSTFIX.replace("Status: 5.1.1", "Status: 4.4.7"), Bounce(NOTICE, "4.4.7")),
    ],
)
def test_a_mail_that_came_back_is_known(mail: str, bounce: Bounce) -> None:
    """By the Message-ID of what was returned, whole or its headers; with the status, as far as there is one."""
    assert read_bounce(mail.encode()) == bounce


@pytest.mark.parametrize(
    "mail",
    [
        "",
        "Subject: Out of office\n\nBack on Monday.",
        POSTFIX.replace("Action: failed", "Action: delayed"),
        POSTFIX.replace("Action: failed", "Action: relayed"),
        POSTFIX.replace("@doorbell>", "@another.example>"),
        POSTFIX.replace(f"<{NOTICE}@doorbell>", "<not-an-id@doorbell>"),
        POSTFIX.replace("multipart/report", "multipart/mixed"),
        POSTFIX.replace("Content-Type: message/delivery-status", "Content-Type: text/plain"),
        POSTFIX[:700],
        # The newer policy of Python's parser breaks on this one.
        POSTFIX.replace(f"<{NOTICE}@doorbell>", "<"),
    ],
)
def test_what_is_none_is_left_alone(mail: str) -> None:
    """Answers of people, mails that are late, and those of others."""
    assert read_bounce(mail.encode()) is None


@given(st.binary(max_size=300), st.integers(0, len(POSTFIX)))
def test_no_mail_breaks_it(rubbish: bytes, place: int) -> None:
    """Anybody may write to that address."""
    mail = POSTFIX.encode()
    read_bounce(mail[:place] + rubbish + mail[place:])
    read_bounce(rubbish)
