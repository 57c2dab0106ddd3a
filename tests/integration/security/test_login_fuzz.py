"""Whatever a login says, it is stored as it is said or refused by its field, and is nothing but text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any
from unicodedata import category
from uuid import UUID, uuid4

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.adapters.clock import SystemClock
from services.adapters.smtp import SmtpMailer
from services.adapters.smtp_sessions import MailServer as Target
from services.adapters.webhook import HttpWebhookSender
from services.domain.errors import Refused
from services.domain.network import Network
from services.domain.text import one_line
from services.gateway.reports import LoginReport, read_report
from services.handlers.message import compose_delivery, compose_mail
from services.handlers.records import Notice
from tests.integration.adapters.mail_server import MailServer, mail_server
from tests.integration.adapters.servers import HttpServer, http_server
from tests.integration.gateway.door import Door, login
from tests.integration.security.texts import storable_texts, texts

FIELDS = (
    "event_id",
    "user_id",
    "user_agent",
    "device_cookie",
    "auth_method",
    "email",
    "locale",
    "ip",
)
VALUES = texts() | st.none() | st.integers() | st.lists(texts(), max_size=2)
LOGINS = st.dictionaries(st.sampled_from(FIELDS), VALUES, min_size=1, max_size=3)


@pytest.fixture(scope="module")
def client(session_door: Door) -> httpx.Client:
    return session_door.client()


@pytest.fixture(scope="module")
def stranger(session_door: Door) -> httpx.Client:
    """Another tenant, of whose users these texts name none."""
    return session_door.client("bank")


def _post(client: httpx.Client, path: str, value: object) -> httpx.Response:
    # As ASCII: httpx would refuse to encode half a surrogate pair, which JSON can spell.
    body = json.dumps(value).encode("ascii")
    return client.post(path, content=body, headers={"Content-Type": "application/json"})


def _stored(door: Door, workflow_id: str) -> dict[str, Any]:
    names = "event_id, user_id, user_agent, auth_method, email, locale, host(ip) AS ip"
    [row] = door.rows(
        f"SELECT row_to_json(x) FROM (SELECT {names} FROM reported_login"
        " WHERE workflow_id = %s) AS x",
        workflow_id,
    )
    found: dict[str, Any] = row[0]
    return found


def _fitting(user_agent: str) -> str:
    unfit = {"Cc", "Zl", "Zp", "Cs"}
    return "".join(" " if category(sign) in unfit else sign for sign in user_agent)[:2048]


def _check(door: Door, sent: dict[str, Any], status: int, answer: dict[str, Any]) -> None:
    """Accepted and stored as sent, or refused in its own words; of a user agent, what fits."""
    if status == 202:
        stored = _stored(door, answer["workflow_id"])
        expected = {name: sent.get(name) for name in stored if name != "ip"}
        expected["user_agent"] = _fitting(sent["user_agent"])
        assert {name: stored[name] for name in expected} == expected
    elif status == 422:
        assert {error["field"] for error in answer["errors"]} <= {*FIELDS, "occurred_at"}
    else:
        # Another text for a key that was drawn before.
        assert status == 409


@settings(max_examples=60)
@given(LOGINS)
def test_a_login_is_kept_as_it_is_or_refused_by_its_field(
    session_door: Door, client: httpx.Client, changes: dict[str, Any]
) -> None:
    """Alone: 202 and the very same text in the database, or 422 (413 above 64 KiB)."""
    sent = login(**changes)
    answer = _post(client, "/v1/logins", sent)
    if len(json.dumps(sent)) > 64 * 1024:
        assert answer.status_code == 413
        return
    assert answer.status_code < 500, answer.text
    _check(session_door, sent, answer.status_code, answer.json())


@settings(max_examples=25)
@given(st.lists(LOGINS, min_size=1, max_size=20))
def test_so_is_each_of_a_batch(
    session_door: Door, client: httpx.Client, batch: list[dict[str, Any]]
) -> None:
    """Together: each is answered by itself, whatever its neighbours say."""
    sent = [login(**changes) for changes in batch]
    answer = _post(client, "/v1/logins:batch", {"logins": sent})
    assert answer.status_code in (200, 207), answer.text
    for one, result in zip(sent, answer.json()["results"], strict=True):
        _check(session_door, one, result["status"], result.get("problem") or result)


@settings(max_examples=60)
@given(texts())
def test_a_text_in_an_address_or_header_finds_nothing(stranger: httpx.Client, text: str) -> None:
    """User ids, cursors, ids of workflows, keys: 2xx or 4xx, and nobody's data but one's own."""
    client = stranger
    quoted = json.dumps(text)[1:-1][:2000]
    for path, parameters in (
        ("/v1/workflows", {"user_id": quoted}),
        ("/v1/workflows", {"user_id": "nobody", "cursor": quoted, "limit": quoted}),
        ("/v1/workflows/" + quoted.replace("/", ""), {}),
    ):
        answer = client.get(path, params=parameters)
        assert answer.status_code < 500, answer.text
        if answer.status_code == 200:
            assert answer.json()["workflows"] == []
    printable = "".join(sign for sign in text if " " < sign < "\x7f")[:150] or "x"
    body = login(event_id=None)
    for name in ("Idempotency-Key", "Authorization"):
        answer = client.post("/v1/logins", json=body, headers={name: printable})
        assert answer.status_code in (202, 401, 409, 422), answer.text


def test_every_table_is_still_there(session_door: Door, client: httpx.Client) -> None:
    """After a statement's end in every field, tenants are who they were and logins are taken."""
    bad = "'); DELETE FROM tenant; --"
    assert _post(client, "/v1/logins", login(user_id=bad, user_agent=bad)).status_code == 202
    assert client.get("/v1/workflows", params={"user_id": bad}).status_code == 200
    assert sorted(session_door.rows("SELECT id FROM tenant")) == [("bank",), ("shop",)]


@pytest.fixture(scope="module")
def mails() -> Iterator[MailServer]:
    with mail_server() as running:
        yield running


@pytest.fixture(scope="module")
def mailer(mails: MailServer) -> Iterator[SmtpMailer]:
    made = SmtpMailer(Target.from_url(mails.url), "doorbell@example.org", SystemClock())
    yield made
    made.close()


@pytest.fixture(scope="module")
def webhook() -> Iterator[HttpServer]:
    with http_server(lambda _: (204, {}, b"")) as running:
        yield running


@pytest.fixture(scope="module")
def sender() -> Iterator[HttpWebhookSender]:
    made = HttpWebhookSender(["127.0.0.1"], SystemClock())
    yield made
    made.close()


def notices(webhook_url: str = "https://hook.example/") -> st.SearchStrategy[Notice]:
    """Notices whose every text is as bad as PostgreSQL can hold."""
    return st.builds(
        Notice,
        id=st.builds(uuid4),
        workflow_id=st.just(UUID(int=1)),
        tenant_id=st.just("shop"),
        tenant_name=storable_texts().filter(str.strip),
        user_id=storable_texts(),
        reason=st.sampled_from(["new_device", "verdict", "folded"]),
        channel=st.just("email"),
        state=st.just("sending"),
        receipt=st.none(),
        email=st.just("ada@example.org"),
        webhook_url=st.just(webhook_url),
        webhook_secret=st.just("secret"),
        occurred_at=st.just(datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
        ip=st.just("203.0.113.7"),
        user_agent=storable_texts(),
        auth_method=st.none() | storable_texts(),
        locale=st.sampled_from([None, "de-DE", "fr", "xx"]),
        time_zone=st.sampled_from([None, "Europe/Berlin"]),
        level=st.sampled_from([None, "high"]),
        switches=st.sampled_from([None, (), ("locked",), ("require_step_up", "locked")]),
        is_late=st.booleans(),
        recorded_at=st.just(datetime(2026, 3, 1, tzinfo=UTC)),
        link_key=st.uuids(),
        logins=st.integers(1, 10**6),
    )


class _Tags(HTMLParser):
    """Collects what a mail program would build of a text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))


def _tags(mail: EmailMessage) -> list[tuple[str, tuple[str, ...]]]:
    parser = _Tags()
    part = mail.get_body(("html",))
    assert part is not None
    parser.feed(part.get_content())
    parser.close()
    return parser.found


NOWHERE = Network()
_ROW = [("tr", ()), ("th", ("scope", "style")), ("td", ("style",)), ("bdi", ())]
_HEAD = [
    *[("html", ("lang",)), ("head", ()), ("meta", ("charset",))],
    *[("meta", ("name", "content")), ("meta", ("name", "content")), ("title", ())],
]
_MAIL = [*_HEAD, ("body", ("style",)), ("main", ("style",)), ("p", ()), ("table", ("style",))]
_HEADERS = {
    *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version"),
    *("Content-Type", "Content-Language"),
}


@settings(max_examples=60)
@given(notices())
def test_no_text_becomes_a_header_a_mail_or_markup(
    mails: MailServer, mailer: SmtpMailer, notice: Notice
) -> None:
    """One mail to one address with the usual headers arrives; its HTML is the usual table."""
    mails.mails.clear()
    mails.recipients.clear()
    mailer.send(compose_mail(notice, NOWHERE))
    [mail] = mails.mails
    assert mails.recipients == ["ada@example.org"]
    assert set(mail.keys()) == _HEADERS
    assert len(mail.keys()) == len(_HEADERS)
    assert mail["To"] == "ada@example.org"
    assert mail["Message-ID"] == f"<{notice.id}@doorbell>"
    assert [part.get_content_type() for part in mail.walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]
    facts = 4 + (notice.auth_method is not None and bool(one_line(notice.auth_method, 9)))
    facts -= not one_line(notice.user_id, 9)
    *before, table = _MAIL
    late = [("p", ())] if notice.is_late else []
    assert _tags(mail) == [*before, *late, table, *_ROW * facts, ("p", ())]


@settings(max_examples=40)
@given(st.data())
def test_no_text_becomes_a_header_of_a_webhook_call(
    webhook: HttpServer, sender: HttpWebhookSender, data: st.DataObject
) -> None:
    """The call has the usual headers, and its body says the very text."""
    notice = data.draw(notices(f"{webhook.url}/hook"))
    webhook.received.clear()
    sender.send(compose_delivery(notice))
    [call] = webhook.received
    assert call.path == "/hook"
    assert call.json()["user_id"] == notice.user_id
    assert set(call.headers) == {
        *("host", "user-agent", "accept-encoding", "accept", "connection", "content-type"),
        *("webhook-id", "webhook-timestamp", "webhook-signature", "idempotency-key"),
        "content-length",
    }


HOSTILE_RECIPIENTS = [
    "=?utf-8?q?=0d=0aBcc=3a_eve=40evil.example?=@example.org",
    "=?utf-8?b?DQpCY2M6IGV2ZUBldmlsLmV4YW1wbGU=?=@example.org",
    "a@=?utf-8?q?=0d=0aBcc=3a_eve?=.org",
    "ä=?utf-8?q?=0aX?=@example.org",
]


@pytest.mark.parametrize("recipient", HOSTILE_RECIPIENTS)
def test_an_encoded_word_is_no_recipient(
    mails: MailServer, mailer: SmtpMailer, recipient: str
) -> None:
    """The mailer refuses by itself what would be decoded into a header, wherever it came from."""
    mails.mails.clear()
    with pytest.raises(Refused, match="not an address"):
        mailer.send(compose_mail(_notice_to(recipient), NOWHERE))
    assert mails.mails == []


def _report(email: str) -> tuple[LoginReport | None, set[str]]:
    report, errors = read_report(login(email=email), None, datetime.now(UTC) + timedelta(seconds=1))
    return report, {error.field for error in errors}


@settings(max_examples=60)
@given(
    st.emails()
    | st.from_regex(r"[\w!#$%&'*+/=?^`{|}~.-]{1,12}@[\w.-]{1,12}\.[\w-]{1,5}", fullmatch=True)
    | st.builds("{}@{}.org".format, storable_texts(), storable_texts())
)
def test_an_address_that_is_let_in_is_one_that_a_mail_reaches(
    mails: MailServer, mailer: SmtpMailer, address: str
) -> None:
    """The gateway refuses by name what the mail server's client cannot send to, and nothing later does."""
    report, refused = _report(address)
    if report is None or report.email is None:
        assert refused == {"email"}
        return
    mails.recipients.clear()
    mail = compose_mail(_notice_to(report.email), NOWHERE)
    mailer.send(mail)
    assert mails.recipients == [address]
    assert sorted(mails.mails[-1].keys()) == sorted(_HEADERS)


def _notice_to(email: str) -> Notice:
    return Notice(
        id=uuid4(),
        workflow_id=UUID(int=1),
        tenant_id="shop",
        tenant_name="The Shop",
        user_id="ada",
        reason="new_device",
        channel="email",
        state="sending",
        receipt=None,
        email=email,
        webhook_url=None,
        webhook_secret=None,
        occurred_at=datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
        ip="203.0.113.7",
        user_agent="",
        auth_method=None,
        locale=None,
        time_zone=None,
        level=None,
        switches=None,
        is_late=False,
        recorded_at=datetime(2026, 3, 1, tzinfo=UTC),
        link_key=UUID(int=3),
    )


@pytest.mark.parametrize(
    "address",
    [
        "a@[1.2.3.4]",
        "a@[IPv6:2001:db8::1]",
        "a@1.2.3.4",
        '"a b"@example.org',
        "a(comment)@example.org",
        "a:b@example.org",
        ".a@example.org",
        "a.@example.org",
        "a..b@example.org",
        "a@-example.org",
        "a@example-.org",
        "a@example..org",
        "a@example.org.",
        "a" * 65 + "@example.org",
        "a@" + "b" * 64 + ".org",
        "a\u202eb@example.org",
        "a\u00a0b@example.org",
        "a@exa\u200bmple.org",
        "=?utf-8?q?=0d=0aBcc=3a_eve=40evil.example?=@example.org",
        "a.=?utf-8?q?x?=@example.org",
    ],
)
def test_an_address_that_no_mail_reaches_is_refused_at_the_door(
    client: httpx.Client, address: str
) -> None:
    """422 that names the field, in place of a notice that fails later."""
    answer = _post(client, "/v1/logins", login(email=address))
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["email"]


@pytest.mark.parametrize(
    "address",
    [
        "o'brien+tag@example.org",
        "a_b-c.d@sub.example.co.uk",
        "ada@xn--exmple-cua.org",
        "ädä@exämple.org",
        "用户@例え.テスト",
        "अआ@उदाहरण.भारत",
        "1@2.example",
    ],
)
def test_usual_and_international_addresses_are_let_in(client: httpx.Client, address: str) -> None:
    """Strict about form, not about language."""
    assert _post(client, "/v1/logins", login(email=address)).status_code == 202
