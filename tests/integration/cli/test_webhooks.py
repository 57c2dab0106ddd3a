"""`doorbell webhook`: where an application is called, and what it is still to hear."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest

from tests.integration.cli.conftest import Run
from tests.support.fleet import wait_until

URL = "https://shop.example/doorbell?of=shop"
Rows = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def shop(database_url: str, doorbell: Run) -> Rows:
    """A tenant; returns what runs a statement on its database."""
    doorbell("tenant", "create", "shop", "The Shop")

    def rows(statement: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(database_url) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    return rows


def _flip(rows: Rows, name: str = "locked") -> None:
    rows(
        "INSERT INTO switch_change (tenant_id, user_id, name, is_on, reason)"
        " VALUES ('shop', 'ada', %s, false, 'expired')",
        name,
    )


def test_a_secret_is_made_shown_once_and_kept(shop: Rows, doorbell: Run) -> None:
    """Another URL keeps it, and another secret is made when it is wanted."""
    code, found = doorbell("webhook", "set", "shop", URL)
    assert code == 0
    assert found["url"] == URL
    prefix, _, encoded = found["secret"].partition("_")
    assert prefix == "whsec"
    assert len(base64.b64decode(encoded)) == 32
    _, again = doorbell("webhook", "set", "shop", "https://shop.example/other")
    assert again["secret"] is None
    assert shop("SELECT webhook_url, webhook_secret FROM tenant") == [
        ("https://shop.example/other", found["secret"])
    ]
    _, other = doorbell("webhook", "set", "shop", URL, "--new-secret")
    assert other["secret"] not in (None, found["secret"])
    assert found["secret"] not in str(doorbell("webhook", "show"))


def test_a_secret_may_be_given(shop: Rows, doorbell: Run, tmp_path: Path) -> None:
    """By a file; it is not printed."""
    file = tmp_path / "secret"
    file.write_text("0123456789abcdef0123456789abcdef\n")
    assert doorbell("webhook", "set", "shop", URL, "--secret-file", file)[1]["secret"] is None
    assert shop("SELECT webhook_secret FROM tenant") == [("0123456789abcdef0123456789abcdef",)]


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("shop.example/doorbell", "is no URL to call: write https://host/path"),
        ("ftp://shop.example/", "is no URL to call"),
        ("https:///path", "is no URL to call"),
        ("https://shop.example:99999/", "is no URL to call"),
        ("https://shop.example/ä", "is no URL to call"),
        ("https://shop.example/" + "a" * 2000, "is no URL to call"),
        ("https://shop.example/a b", "is no URL to call"),
        ("https://me:pw@shop.example/", "has a user or a fragment"),
        ("https://shop.example/#top", "has a user or a fragment"),
    ],
)
def test_an_unfit_url_is_refused(shop: Rows, doorbell: Run, url: str, complaint: str) -> None:
    """With a sentence that says what one looks like; nothing is changed."""
    code, said = doorbell("webhook", "set", "shop", url)
    assert code == 2
    assert complaint in said
    assert shop("SELECT webhook_url FROM tenant") == [(None,)]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("short", "has no secret: 32 to 500"),
        ("two words that are long enough together", "has no secret"),
        ("whsec_not-base64-not-base64-not-base64", "is not base64 after whsec_"),
    ],
)
def test_an_unfit_secret_is_refused(
    shop: Rows,
    doorbell: Run,
    tmp_path: Path,
    text: str,
    complaint: str,
) -> None:
    """Without repeating it."""
    file = tmp_path / "secret"
    file.write_text(text)
    code, said = doorbell("webhook", "set", "shop", URL, "--secret-file", file)
    assert code == 2
    assert complaint in said
    assert text not in said


def test_what_waits_is_shown_and_given_up_with_the_webhook(shop: Rows, doorbell: Run) -> None:
    """And is tried again when there is one again and somebody says so."""
    assert doorbell("webhook", "show") == (0, [])
    doorbell("webhook", "set", "shop", URL)
    _flip(shop)
    _flip(shop, "require_step_up")
    _, [row] = doorbell("webhook", "show", "shop")
    assert (row["tenant"], row["waiting"], row["given_up"]) == ("shop", 2, 0)
    assert doorbell("webhook", "unset", "shop")[1] == {"tenant": "shop", "given_up": 2}
    _flip(shop)
    _, [row] = doorbell("webhook", "show", "shop")
    assert (row["url"], row["waiting"], row["given_up"]) == (None, 0, 2)
    assert row["problem"] == "the webhook was taken away"
    assert doorbell("webhook", "retry", "shop")[0] == 1
    doorbell("webhook", "set", "shop", URL)
    assert doorbell("webhook", "retry", "shop")[1] == {"tenant": "shop", "again": 2}
    _, [row] = doorbell("webhook", "show", "shop")
    assert (row["waiting"], row["given_up"]) == (2, 0)


def test_what_only_tried_a_webhook_is_not_sent_again(shop: Rows, doorbell: Run) -> None:
    """An application that is there at last is not called once for each address that was wrong."""
    doorbell("webhook", "set", "shop", URL)
    _flip(shop)
    shop(
        "INSERT INTO application_event (id, tenant_id, type, data)"
        " SELECT gen_random_uuid(), 'shop', 'webhook.test', '{}' FROM generate_series(1, 3)"
    )
    shop("UPDATE application_event SET state = 'given_up', answer = 'refused', ended_at = now()")
    _, [row] = doorbell("webhook", "show", "shop")
    assert (row["given_up"], row["problem"]) == (1, "refused")
    assert doorbell("webhook", "retry", "shop")[1] == {"tenant": "shop", "again": 1}
    assert shop("SELECT type FROM application_event WHERE state = 'due'") == [("switch.changed",)]


def test_a_receiver_that_was_left_alone_is_called_now(shop: Rows, doorbell: Run) -> None:
    """Also with what was tried and put off."""
    doorbell("webhook", "set", "shop", URL)
    _flip(shop)
    shop(
        "UPDATE application_event SET attempts = 3, answer = 'no answer', due_at = now() + interval '9 min'"
    )
    shop(
        "INSERT INTO webhook_receiver (tenant_id, failures, closed_until)"
        " VALUES ('shop', 4, now() + interval '4 min')"
    )
    _, [row] = doorbell("webhook", "show")
    assert (row["failures"], row["problem"]) == (4, "no answer")
    assert row["left_alone_until"]
    doorbell("webhook", "retry", "shop")
    assert shop("SELECT due_at <= now() FROM application_event") == [(True,)]
    assert shop("SELECT failures, closed_until FROM webhook_receiver") == [(0, None)]


@pytest.mark.parametrize(
    ("state", "answer", "code"),
    [("sent", "HTTP 204", 0), ("due", "the webhook answered 503", 1)],
)
def test_a_try_says_what_the_application_answered(
    shop: Rows, doorbell: Run, state: str, answer: str, code: int
) -> None:
    """As soon as it was called, which is the pool's to do."""
    doorbell("webhook", "set", "shop", URL)

    def call() -> None:
        wait_until(lambda: shop("SELECT id FROM application_event"), 10, "no event")
        shop("UPDATE application_event SET state = %s, answer = %s", state, answer)

    pool = Thread(target=call)
    pool.start()
    given, outcome = doorbell("webhook", "test", "shop")
    pool.join(20)
    assert (given, outcome["state"], outcome["answer"]) == (code, state, answer)
    assert doorbell("audit")[1][0]["command"] == "webhook test"


@pytest.mark.parametrize("command", ["set", "unset", "show", "test", "retry"])
def test_an_unknown_tenant_is_named(shop: Rows, doorbell: Run, command: str) -> None:
    """And one without a webhook too, where one is needed."""
    more = [URL] if command == "set" else []
    code, said = doorbell("webhook", command, "nobody", *more)
    assert (code, "there is no tenant nobody" in said) == (4, True)
    if command in ("unset", "test", "retry"):
        code, said = doorbell("webhook", command, "shop")
        assert (code, "shop has no webhook" in said) == (1, True)


def test_it_is_in_the_audit_trail(shop: Rows, doorbell: Run) -> None:
    """With the host alone: the rest of a URL may be a secret."""
    doorbell("webhook", "set", "shop", "https://shop.example/hidden")
    doorbell("webhook", "unset", "shop")
    _, rows = doorbell("audit")
    found = [(row["command"], row["subject"]) for row in rows if "webhook" in row["command"]]
    assert found == [("webhook unset", "shop"), ("webhook set", "shop to shop.example")]
