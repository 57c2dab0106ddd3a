"""Nobody else can make a webhook call that a receiver believes, nor use an old one again."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.adapters.webhook import HttpWebhookSender, signature
from services.domain.errors import Refused
from services.handlers.records import Delivery
from tests.integration.adapters.servers import Received, http_server
from tests.support.fleet import ROOT

PAGE = ROOT / "deploy" / "webhooks.md"
SECRETS = ["a secret of plain words", "whsec_" + base64.b64encode(bytes(range(100, 132))).decode()]
BODY = b'{"id":"d-1","type":"notice.new_device"}'

Verify = Callable[[str, Mapping[str, str], bytes], bool]


@pytest.fixture(scope="module")
def verify() -> Verify:
    """The very snippet of the page that receivers copy."""
    [snippet] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(snippet, str(PAGE), "exec"), names)  # it is what is tested
    found: Verify = names["is_from_doorbell"]
    return found


@dataclass
class SetClock:
    """A clock that goes wrong by as much as a test wants."""

    off_by: timedelta = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.off_by


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def call(clock: SetClock) -> Iterator[Callable[..., Received]]:
    """Send a delivery to a real receiver; returns what that got."""
    sender = HttpWebhookSender(["127.0.0.1"], clock)
    with http_server(lambda _: (204, {}, b"")) as receiver:

        def send(secret: str, body: bytes = BODY) -> Received:
            sender.send(Delivery("d-1", f"{receiver.url}/hook", secret, body))
            return receiver.received[-1]

        yield send
    sender.close()


@pytest.mark.parametrize("secret", SECRETS)
def test_the_page_s_snippet_believes_us(
    call: Callable[..., Received], verify: Verify, secret: str
) -> None:
    """What Doorbell sends is verified by the documented ten lines, with secrets of both kinds."""
    got = call(secret)
    assert verify(secret, got.headers, got.body)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("what", ["body", "time", "id", "signature", "secret", "nothing signed"])
def test_an_altered_call_is_not_believed(
    call: Callable[..., Received], verify: Verify, secret: str, what: str
) -> None:
    """Body, time, id and signature hold together; another secret signs nothing of ours."""
    got = call(secret)
    headers, body = dict(got.headers), got.body
    later = str(int(headers["webhook-timestamp"]) + 1)
    other = "whsec_" + base64.b64encode(b"another secret").decode()
    forged = signature(Delivery("d-1", "", other, body), headers["webhook-timestamp"])
    match what:
        case "body":
            body = body.replace(b"new_device", b"verdict")
        case "time":
            headers["webhook-timestamp"] = later
        case "id":
            headers["webhook-id"] = "d-2"
        case "signature":
            headers["webhook-signature"] = headers["webhook-signature"].swapcase()
        case "secret":
            headers["webhook-signature"] = forged
        case _:
            del headers["webhook-signature"]
    assert not verify(secret, headers, body)


@pytest.mark.parametrize(("minutes", "is_believed"), [(-6, False), (-4, True), (6, False)])
def test_an_old_call_is_not_believed_again(
    call: Callable[..., Received],
    verify: Verify,
    clock: SetClock,
    minutes: int,
    is_believed: bool,
) -> None:
    """A call that was recorded works for five minutes, for as long as ids are kept."""
    clock.off_by = timedelta(minutes=minutes)
    got = call(SECRETS[1])
    assert verify(SECRETS[1], got.headers, got.body) is is_believed


def test_attempts_share_their_id_alone(call: Callable[..., Received], clock: SetClock) -> None:
    """A second attempt has the same id and body, and a time and signature of its own."""
    first = call(SECRETS[1])
    clock.off_by = timedelta(seconds=30)
    second = call(SECRETS[1])
    same = [name for name in first.headers if first.headers[name] == second.headers[name]]
    assert first.body == second.body
    assert {"webhook-id", "idempotency-key"} <= set(same)
    assert {"webhook-timestamp", "webhook-signature"}.isdisjoint(same)


@pytest.mark.parametrize("headers", [{}, {"webhook-signature": "v1,é"}, {"webhook-signature": ","}])
def test_rubbish_is_refused_and_not_stumbled_over(verify: Verify, headers: dict[str, str]) -> None:
    """Whatever a stranger sends, the snippet answers no, and raises nothing."""
    assert not verify(SECRETS[0], headers, b"")


@pytest.mark.parametrize("secret", ["whsec_", "whsec_%%%"])
def test_a_secret_that_is_none_signs_nothing(call: Callable[..., Received], secret: str) -> None:
    """An empty key would let anybody sign, and a broken one nobody verify."""
    with pytest.raises(Refused, match="webhook_secret"):
        call(secret)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_two_bodies_share_a_signature(verify: Verify, one: bytes, other: bytes) -> None:
    """Bytes that differ anywhere are signed differently: the border of id, time and body is fixed."""
    now = str(int(datetime.now(UTC).timestamp()))
    signed = signature(Delivery("d-1", "", SECRETS[0], one), now)
    headers = {"webhook-id": "d-1", "webhook-timestamp": now, "webhook-signature": signed}
    assert verify(SECRETS[0], headers, other) is (one == other)
