"""Calling a real HTTP server as an application's webhook."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator

import pytest

from services.adapters.clock import SystemClock
from services.adapters.webhook import HttpWebhookSender
from services.domain.errors import Refused, Unavailable
from services.handlers.records import Delivery
from tests.integration.adapters.servers import HttpServer, http_server


@pytest.fixture
def receiver() -> Iterator[HttpServer]:
    with http_server(lambda _: (204, {}, b"")) as running:
        yield running


@pytest.fixture
def sender() -> Iterator[HttpWebhookSender]:
    made = HttpWebhookSender(["127.0.0.1", "localhost"], SystemClock())
    yield made
    made.close()


@pytest.fixture
def strict_sender() -> Iterator[HttpWebhookSender]:
    made = HttpWebhookSender([], SystemClock())
    yield made
    made.close()


def _delivery(url: str, secret: str = "secret") -> Delivery:
    return Delivery("d-1", url, secret, b'{"type":"notice.new_device"}')


@pytest.mark.parametrize(
    ("secret", "key"),
    [("secret", b"secret"), ("whsec_" + base64.b64encode(b"key").decode(), b"key")],
)
def test_a_call_is_signed_and_has_a_stable_id(
    receiver: HttpServer, sender: HttpWebhookSender, secret: str, key: bytes
) -> None:
    """A receiver can compute the signature from id, time and body, and sees the delivery's id."""
    assert sender.send(_delivery(receiver.url + "/hook", secret)) == "HTTP 204"
    (got,) = receiver.received
    signed = f"d-1.{got.headers['webhook-timestamp']}.".encode() + got.body
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert got.headers["webhook-signature"] == f"v1,{digest}"
    assert got.headers["webhook-id"] == got.headers["idempotency-key"] == "d-1"


@pytest.mark.parametrize(
    ("status", "error"),
    [(500, Unavailable), (503, Unavailable), (429, Unavailable), (404, Refused), (302, Refused)],
)
def test_an_answer_decides_about_trying_again(
    receiver: HttpServer, sender: HttpWebhookSender, status: int, error: type[Exception]
) -> None:
    """5xx and "later" are tried again, the rest is not, and a redirect is not followed."""
    receiver.reply = lambda _: (status, {"Location": receiver.url + "/other"}, b"")
    with pytest.raises(error, match=str(status)):
        sender.send(_delivery(receiver.url))
    assert len(receiver.received) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "169.254.169.254"])
def test_a_private_target_is_refused(
    receiver: HttpServer, strict_sender: HttpWebhookSender, host: str
) -> None:
    """No call goes to an address inside, by number or by a name that leads there."""
    port = receiver.url.rpartition(":")[2]
    with pytest.raises(Refused, match="not a public address"):
        strict_sender.send(_delivery(f"https://{host}:{port}/"))
    assert receiver.received == []


@pytest.mark.parametrize(
    "url", ["", "ftp://x/", "https://", "http://[", "http://example.org/", "https://a b/", "hook"]
)
def test_what_is_no_https_url_is_refused(strict_sender: HttpWebhookSender, url: str) -> None:
    """A wrong or unencrypted target is an error of configuration, not one to try again."""
    with pytest.raises(Refused):
        strict_sender.send(_delivery(url))


def test_nobody_there_is_unavailable(sender: HttpWebhookSender) -> None:
    """A receiver that is down is tried again."""
    with pytest.raises(Unavailable):
        sender.send(_delivery("http://127.0.0.1:9/"))
