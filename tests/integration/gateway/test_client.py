"""The client against a real gateway, and against doors that do not open."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest

from services.client import COOKIE_SECONDS, Doorbell, Switches
from tests.integration.adapters.servers import http_server
from tests.integration.gateway.door import KEYS, Door

RECIPE = Path(__file__).resolve().parents[3] / "deploy" / "applications.md"


@pytest.fixture
def doorbell(door: Door) -> Doorbell:
    return Doorbell(door.url, KEYS["shop"], seconds=10)


def _report(doorbell: Doorbell, **facts: str | None) -> str | None:
    return doorbell.report(str(uuid4()), "ada", "203.0.113.7", "curl/8.5.0", **facts)


def test_a_login_is_reported_and_its_device_is_given_a_cookie(
    door: Door, doorbell: Doorbell
) -> None:
    """Which it has no need of the next time."""
    cookie = _report(doorbell, email="ada@example.org", time_zone="Europe/Berlin")
    assert cookie is not None
    assert _report(doorbell, device_cookie=cookie, email=None) == cookie
    assert door.rows(
        "SELECT user_id, email, time_zone FROM reported_login ORDER BY received_at"
    ) == [
        ("ada", "ada@example.org", "Europe/Berlin"),
        ("ada", None, None),
    ]


def test_switches_are_what_they_are(door: Door, doorbell: Doorbell) -> None:
    """Also of a user whose id has signs in it."""
    assert doorbell.switches("ada/1?x") == Switches()
    door.rows(
        "INSERT INTO switch (tenant_id, user_id, name, is_on) VALUES ('shop', 'ada/1?x', 'locked', true)"
    )
    assert doorbell.switches("ada/1?x") == Switches(locked=True)


def test_what_is_refused_is_logged_by_its_field(
    doorbell: Doorbell, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the value, which is somebody's; and the user is let in."""
    assert (
        doorbell.report("e-1", "ada", "ada's house", "curl/8.5.0", email="ada at example") is None
    )
    assert re.search(r"refused: 422 ip is not an IPv4 or IPv6.*; email is not a mail", caplog.text)
    assert "ada at example" not in caplog.text
    assert "ada's house" not in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("email", "ada at example"),
        ("other_email", "ada@"),
        ("locale", "de-DE,de;q=0.9"),
        ("time_zone", "Etc/Unknown"),
        ("auth_method", "x" * 51),
    ],
)
def test_a_login_is_reported_without_what_is_refused_of_its_user(
    door: Door, doorbell: Doorbell, caplog: pytest.LogCaptureFixture, name: str, value: str
) -> None:
    """The log names it; all else is as it was."""
    facts = {"email": "ada@example.org", "locale": "de"}
    assert _report(doorbell, **{**facts, name: value}) is not None
    assert f"refused: 422 {name} " in caplog.text
    kept = door.rows(
        "SELECT email, other_email, locale, time_zone, auth_method FROM reported_login"
    )
    expected = {**facts, name: None}
    fields = ("email", "other_email", "locale", "time_zone", "auth_method")
    assert kept == [tuple(expected.get(each) for each in fields)]


def test_what_is_empty_is_left_out(
    door: Door, doorbell: Doorbell, caplog: pytest.LogCaptureFixture
) -> None:
    """Users of whom an application has no address have an empty one in many of them."""
    assert _report(doorbell, email="", locale="", device_cookie="") is not None
    assert "services.client" not in {record.name for record in caplog.records}
    assert door.rows("SELECT email, locale FROM reported_login") == [(None, None)]


_DRIPS = {
    "drips a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b" "),
    "drips a header": (b"HTTP/1.1 200 OK\r\nServer: ", b"x"),
    "drips a status": (b"H", b"T"),
    "drips answers of no use": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "drips a handshake": (b"\x16\x03\x03\x0f\xff\x02\x00\x0f\xfb\x03\x03", b"x"),
}
"""What comes first, and what then comes now and then. The last is TLS: a record's beginning, with a server's hello."""


def _drip(listening: socket.socket, first: bytes, then: bytes) -> None:
    """Answer each request with a little now and then, for longer than anybody waits."""
    while True:
        try:
            caller, _ = listening.accept()
        except OSError:
            return
        with caller, contextlib.suppress(OSError):
            caller.recv(65_536)
            caller.sendall(first)
            for _ in range(1000):
                caller.sendall(then)
                time.sleep(0.05)


@pytest.fixture(params=["refuses", "hangs", *_DRIPS, "fails", "talks rubbish"])
def closed(request: pytest.FixtureRequest) -> Iterator[str]:
    """A door that does not open, each in its way."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        if request.param == "refuses":
            yield url
        elif request.param == "hangs":
            silent.listen()
            yield url
        elif request.param in _DRIPS:
            silent.listen()
            first, then = _DRIPS[request.param]
            threading.Thread(target=_drip, args=(silent, first, then), daemon=True).start()
            yield url.replace("http", "https") if "handshake" in request.param else url
            silent.shutdown(socket.SHUT_RDWR)
        else:
            status = 503 if request.param == "fails" else 200
            with http_server(lambda _: (status, {}, b"[7]")) as server:
                yield server.url


def test_users_are_let_in_when_doorbell_does_not_answer(
    closed: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In no more than the two tries that a report has, and the log says what happened, but not of whom."""
    doorbell = Doorbell(closed, "key-of-shop", seconds=0.3)
    began = time.monotonic()
    assert doorbell.switches("ada-the-person") == Switches()
    assert doorbell.report("e-1", "ada-the-person", "203.0.113.7", "curl/8.5.0") is None
    # Each of the three takes 0.3 s at most, and what this machine has to do meanwhile.
    assert time.monotonic() - began < 3
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 2
    assert "ada-the-person" not in caplog.text


def test_the_recipe_runs(door: Door) -> None:
    """As it stands on the page for applications."""
    [recipe] = re.findall(r"```python\n(.*?)```", RECIPE.read_text(), re.DOTALL)
    body = "".join(f"    {line}\n" for line in recipe.splitlines())
    kept: dict[str, str] = {}

    class User:
        id = 7
        email = "ada@example.org"

    def set_cookie(name: str, value: str, **options: object) -> None:
        assert options["max_age"] == COOKIE_SECONDS
        kept[name] = value

    names = {
        "Doorbell": lambda _, key: Doorbell(door.url, key, seconds=10),
        "COOKIE_SECONDS": COOKIE_SECONDS,
        "api_key": KEYS["shop"],
        "user": User,
        "uuid4": uuid4,
        "ip": "203.0.113.7",
        "user_agent": "curl/8.5.0",
        "cookies": kept,
        "set_cookie": set_cookie,
    }
    exec(f"def view():\n{body}", names)  # the page's own lines
    view = names["view"]
    assert callable(view)
    assert view() is None
    assert kept["device"].startswith("d1.")
    door.rows(
        "INSERT INTO switch (tenant_id, user_id, name, is_on) VALUES ('shop', '7', 'locked', true)"
    )
    assert view() == "Your account is locked."
    assert door.rows("SELECT user_id, email FROM reported_login") == [("7", "ada@example.org")]


@pytest.mark.parametrize(
    ("user_agent", "cookie"),
    [("x" * 5000, "y" * 5000), ("a\tb\x7f\udc80", "\t\udc80"), (None, ""), ("", "device-1")],
)
def test_a_visitor_cannot_keep_a_login_from_being_reported(
    door: Door, doorbell: Doorbell, user_agent: str | None, cookie: str
) -> None:
    """By what the browser sends: the login counts, and the device is given a cookie."""
    given = doorbell.report("e-1", "ada", "203.0.113.7", user_agent, device_cookie=cookie)
    assert given is not None
    assert given.startswith("d1.")
    assert door.count("reported_login") == 1


def test_a_machines_passwords_for_other_programs_change_nothing(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ~/.netrc has for the gateway's host, or for any, is not sent in place of the key."""
    (tmp_path / "netrc").write_text("default login ada password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    # As a file with the key is read.
    doorbell = Doorbell(door.url, f"{KEYS['shop']}\n", seconds=10)
    assert _report(doorbell) is not None
    door.rows(
        "INSERT INTO switch (tenant_id, user_id, name, is_on) VALUES ('shop', 'ada', 'locked', true)"
    )
    assert doorbell.switches("ada") == Switches(locked=True)


def test_nothing_raises(doorbell: Doorbell, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever an application passes, and whatever its configuration says."""
    assert doorbell.switches("\udc80") == Switches()
    assert _report(doorbell, occurred_at=cast(str, object())) is None
    assert doorbell.report("e-1", "ada", "203.0.113.7", cast(str, b"curl/8.5.0")) is None
    assert Doorbell("http://" + "x" * 70, "\u20ac").switches("ada") == Switches()
    assert _report(Doorbell("http://" + "x" * 70, "\u20ac")) is None
    # As a word: ids are random, and some have these letters.
    assert not re.search(r"\bada\b", caplog.text)
