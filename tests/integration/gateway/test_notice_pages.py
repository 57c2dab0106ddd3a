"""The links of notices: asking changes nothing, pressing acts once, and nobody makes a link of his own."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from psycopg.types.json import Jsonb

from services.domain.notice_link import LinkAct, make_token
from services.domain.policy import DEFAULT
from tests.integration.gateway.door import Door, login

ADA = "<b>ada\u202e</b>"
PROVIDER = "<i>Netz\u202e</i>\n& Co"


class Notices:
    """A notice about a login that brought its user's second device, and the ways to answer it."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.recorded_at = datetime.now(UTC)
        facts = {"user_id": ADA, "locale": "de-DE", "ip": "203.0.113.77"}
        self.workflow = UUID(door.report(login(**facts)).json()["workflow_id"])
        self.id = uuid4()
        device = uuid4()
        door.rows(
            "INSERT INTO device (id, tenant_id, user_id, fingerprint, description, first_workflow_id,"
            " first_of_user, first_seen_at, last_seen_at) VALUES (%s, 'shop', %s, 'f', '', %s, false, now(), now())",
            *(device, ADA, self.workflow),
        )
        door.rows(
            "INSERT INTO login"
            " (workflow_id, tenant_id, user_id, device_id, new_device, occurred_at, ip, country, asn, provider)"
            " VALUES (%s, 'shop', %s, %s, true, now(), '203.0.113.77', 'AT', 64500, %s)",
            *(self.workflow, ADA, device, PROVIDER),
        )
        door.rows(
            "INSERT INTO notice (id, workflow_id, tenant_id, user_id, reason, channel)"
            " VALUES (%s, %s, 'shop', %s, 'new_device', 'email')",
            *(self.id, self.workflow, ADA),
        )
        [(self.key,)] = door.rows("SELECT cookie_key FROM tenant WHERE id = 'shop'")

    def token(self, act: LinkAct, **changes: Any) -> str:
        given = {"key": self.key, "notice_id": self.id, "recorded_at": self.recorded_at} | changes
        return make_token(act=act, **given)

    def ask(self, token: str) -> httpx.Response:
        return httpx.get(
            f"{self.door.url}/notice", params={"t": token}, trust_env=False, timeout=30
        )

    def press(self, token: str) -> httpx.Response:
        return httpx.post(
            f"{self.door.url}/notice", params={"t": token}, trust_env=False, timeout=30
        )

    def state(self) -> tuple[list[Any], list[Any], list[Any]]:
        """Answers, switches that are on, and whether the device counts as the user's."""
        return (
            self.door.rows("SELECT act FROM notice_answer ORDER BY act"),
            self.door.rows("SELECT name FROM switch WHERE is_on ORDER BY name"),
            self.door.rows("SELECT signed_in FROM device"),
        )


@pytest.fixture
def notices(door: Door) -> Notices:
    return Notices(door)


UNTOUCHED: tuple[list[Any], list[Any], list[Any]] = ([], [], [(True,)])


@pytest.mark.parametrize("act", ["confirm", "disown", "unsubscribe"])
def test_to_look_changes_nothing(notices: Notices, act: LinkAct) -> None:
    """However often programs follow the link before its reader does."""
    _let_unsubscribe(notices.door)
    pages = [notices.ask(notices.token(act)) for _ in range(3)]
    looked = httpx.head(str(pages[0].url), trust_env=False, timeout=30)
    assert {page.status_code for page in (*pages, looked)} == {200}
    assert looked.headers["Content-Length"] == str(len(pages[0].content))
    assert notices.state() == UNTOUCHED
    assert notices.door.count("unsubscribed") == 0
    assert '<form method="post">' in pages[0].text


def test_a_page_says_which_sign_in_it_is(notices: Notices) -> None:
    """In the user's language; what others wrote stays text, and nothing of it turns around or is kept."""
    page = notices.ask(notices.token("confirm"))
    assert "203.0.113.77" in page.text
    assert "Waren Sie das" in page.text
    assert "&lt;b&gt;ada&lt;/b&gt;" in page.text
    assert "<b>" not in page.text
    assert "Österreich (ungefähr, nach der Adresse)" in page.text
    assert "<bdi>&lt;i&gt;Netz&lt;/i&gt; &amp; Co</bdi>" in page.text
    assert "\u202e" not in page.text
    assert page.headers["Content-Language"] == "de-DE"
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "stored", ["country = NULL, asn = NULL, provider = NULL", "country = 'XX', provider = ''"]
)
def test_a_page_says_no_place_where_none_is_known(notices: Notices, stored: str) -> None:
    """A release before this one has stored the login, or nobody knows such a country; so before it is stored."""
    notices.door.rows(f"UPDATE login SET {stored}")
    page = notices.ask(notices.token("disown"))
    assert (page.status_code, "203.0.113.77" in page.text) == (200, True)
    assert not {"Ort", "Anbieter"} & {*re.findall(r"<th[^>]*>([^<]*)", page.text)}
    notices.door.rows("DELETE FROM login")
    assert notices.ask(notices.token("disown")).text == page.text


def test_this_was_me_is_noted(notices: Notices) -> None:
    """And nothing else."""
    page = notices.press(notices.token("confirm"))
    assert "Danke" in page.text
    assert notices.state() == ([("confirm",)], [], [(True,)])


def test_who_is_locked_is_told_so_by_this_was_me_too(notices: Notices) -> None:
    """It unlocks nobody: whoever signed in may read the mails. But there is something else to do."""
    notices.door.rows(
        "INSERT INTO switch (tenant_id, user_id, name, is_on) VALUES ('shop', %s, 'locked', true)",
        ADA,
    )
    token = notices.token("confirm")
    for page in (notices.press(token), notices.ask(token)):
        assert "bleibt gesperrt" in page.text
    assert notices.state() == ([("confirm",)], [("locked",)], [(True,)])


def test_this_was_not_me_secures_the_account(notices: Notices) -> None:
    """It is locked, the trail says by whom, and the device is a stranger's from now on."""
    page = notices.press(notices.token("disown"))
    assert "gesperrt" in page.text
    assert notices.state() == ([("disown",)], [("locked",)], [(False,)])
    trail = notices.door.rows("SELECT name, is_on, reason FROM switch_change")
    assert trail == [("locked", True, "disowned by the user")]


def test_a_link_acts_once(notices: Notices) -> None:
    """Also when it is pressed at once from everywhere: each is told how it is; who was unlocked since stays so."""
    token = notices.token("disown")
    with ThreadPoolExecutor(8) as pool:
        pages = list(pool.map(lambda _: notices.press(token).text, range(8)))
    assert all("gesperrt" in page for page in [*pages, notices.ask(token).text])
    notices.door.rows("UPDATE switch SET is_on = false")
    assert "vermerkt" in notices.press(token).text
    assert "vermerkt" in notices.ask(token).text
    assert notices.state()[1] == []
    assert notices.door.rows("SELECT count(*) FROM switch_change") == [(1,)]


def test_who_has_confirmed_too_early_can_still_disown(notices: Notices) -> None:
    """Each link once, but not only one of them."""
    notices.press(notices.token("confirm"))
    notices.press(notices.token("disown"))
    assert notices.state() == ([("confirm",), ("disown",)], [("locked",)], [(False,)])


def test_a_stranger_on_the_first_device_is_told_of_too(notices: Notices) -> None:
    """What was the user's first device is none of his, and the login need not have been stored yet."""
    notices.door.rows("DELETE FROM login")
    notices.door.rows("UPDATE device SET first_of_user = true")
    notices.press(notices.token("disown"))
    assert notices.door.rows("SELECT signed_in, first_of_user FROM device") == [(False, False)]


def test_a_strangers_network_is_none_of_the_users(notices: Notices) -> None:
    """One that the user had signed in from before stays."""
    notices.door.rows(
        "INSERT INTO user_network (tenant_id, user_id, country, asn, first_workflow_id)"
        " VALUES ('shop', %s, 'DE', 1, gen_random_uuid()), ('shop', %s, 'US', 2, %s),"
        " ('shop', 'bob', 'US', 2, %s)",
        *(ADA, ADA, notices.workflow, notices.workflow),
    )
    notices.press(notices.token("disown"))
    left = notices.door.rows("SELECT user_id, country FROM user_network ORDER BY user_id")
    assert sorted(left) == [(ADA, "DE"), ("bob", "US")]


def test_all_that_a_mail_told_of_is_disowned(notices: Notices) -> None:
    """A mail about several sign-ins names the last of them; none of their devices and networks stays the user's."""
    others = [uuid4() for _ in range(3)]
    for number, workflow in enumerate(others):
        notices.door.rows(
            "INSERT INTO workflow (id, tenant_id, name, user_id) VALUES (%s, 'shop', 'login', %s)",
            *(workflow, ADA),
        )
        notices.door.rows(
            "INSERT INTO device (id, tenant_id, user_id, fingerprint, description, first_workflow_id,"
            " first_of_user, first_seen_at, last_seen_at)"
            " VALUES (%s, 'shop', %s, 'f', '', %s, false, now(), now())",
            *(uuid4(), ADA, workflow),
        )
        notices.door.rows(
            "INSERT INTO user_network (tenant_id, user_id, country, asn, first_workflow_id)"
            " VALUES ('shop', %s, 'US', %s, %s)",
            *(ADA, number, workflow),
        )
    told_in = [notices.workflow, notices.workflow, uuid4()]
    for workflow, told in zip(others, told_in, strict=True):
        notices.door.rows(
            "INSERT INTO folded_notice (workflow_id, tenant_id, user_id, told_in)"
            " VALUES (%s, 'shop', %s, %s)",
            *(workflow, ADA, told),
        )

    notices.press(notices.token("disown"))

    kept = notices.door.rows("SELECT first_workflow_id FROM device WHERE signed_in")
    assert kept == [(others[2],)]
    assert notices.door.rows("SELECT first_workflow_id FROM user_network") == [(others[2],)]


def test_an_older_device_stays_the_users(notices: Notices) -> None:
    """Only one that this very sign-in brought is forgotten."""
    notices.door.rows("UPDATE device SET first_workflow_id = gen_random_uuid()")
    notices.press(notices.token("disown"))
    assert notices.state()[2] == [(True,)]


@pytest.mark.parametrize(
    ("words", "switches", "said"),
    [
        ({"never_lock": frozenset({ADA})}, [("require_step_up",)], "zweiten Faktor"),
        ({"actions": {"disowned": frozenset()}}, [], "vermerkt"),
        ({"is_dry_run": True}, [("locked",)], "gesperrt"),
    ],
)
def test_the_policy_says_how_it_is_secured(
    notices: Notices, words: dict[str, Any], switches: list[tuple[str]], said: str
) -> None:
    """And the page says what was done."""
    document = replace(DEFAULT, **words).to_document()
    notices.door.rows("UPDATE tenant SET policy = %s WHERE id = 'shop'", Jsonb(document))
    assert said in notices.press(notices.token("disown")).text
    assert notices.state()[1] == switches


def test_a_link_ends_after_a_week(notices: Notices) -> None:
    """A moment before it still acts."""
    old = notices.recorded_at - timedelta(days=7, seconds=1)
    page = notices.press(notices.token("disown", recorded_at=old))
    assert (page.status_code, "Zeit dieses Links" in page.text) == (410, True)
    assert notices.state() == UNTOUCHED
    assert notices.press(notices.token("disown", recorded_at=old + timedelta(minutes=1))).is_success
    assert notices.state() != UNTOUCHED


def test_nobody_makes_a_link_of_his_own(notices: Notices) -> None:
    """A wrong key, another tenant's, another notice, nothing at all: one and the same answer."""
    [(bank,)] = notices.door.rows("SELECT cookie_key FROM tenant WHERE id = 'bank'")
    token = notices.token("disown")
    wrong = [
        notices.token("disown", key=uuid4()),
        notices.token("disown", key=bank),
        notices.token("disown", notice_id=uuid4()),
        token[:-1],
        f"{token[:-4]}AAAA",
        token.replace("n1.", "n2."),
        "",
        "\x00",
        "x" * 10_000,
    ]
    for ask in (notices.ask, notices.press):
        pages = [ask(each) for each in wrong]
        assert {page.status_code for page in pages} == {404}
        assert len({page.text for page in pages}) == 1
    assert notices.state() == UNTOUCHED


def test_a_page_waits_for_the_database(notices: Notices) -> None:
    """Who presses while nothing can be written is told so, and the link is still good."""
    token = notices.token("disown")
    with notices.door.parts.pool.connection() as connection:
        connection.execute("LOCK TABLE notice_answer IN ACCESS EXCLUSIVE MODE")
        page = notices.press(token)
        connection.rollback()
    assert (page.status_code, page.headers["Retry-After"]) == (503, "2")
    assert "Try again in a minute" in page.text
    assert notices.press(token).is_success
    assert notices.state()[1] == [("locked",)]


def _let_unsubscribe(door: Door) -> None:
    policy = replace(DEFAULT, may_unsubscribe=True).to_document()
    door.rows("UPDATE tenant SET policy = %s", Jsonb(policy))


def test_a_mail_program_unsubscribes_with_one_click(notices: Notices) -> None:
    """As RFC 8058 has it; again and again, and nothing else is touched."""
    _let_unsubscribe(notices.door)
    url = f"{notices.door.url}/notice?t={notices.token('unsubscribe')}"
    for _ in range(2):
        answer = httpx.post(
            url, data={"List-Unsubscribe": "One-Click"}, trust_env=False, timeout=30
        )
        assert answer.status_code == 200
        assert "keine Mails mehr" in answer.text
    assert notices.door.rows("SELECT tenant_id, user_id FROM unsubscribed") == [("shop", ADA)]
    assert notices.state()[1:] == UNTOUCHED[1:]


def test_nobody_unsubscribes_where_the_policy_does_not_say_so(notices: Notices) -> None:
    """Nor any more, when it has changed since the mail."""
    answer = notices.press(notices.token("unsubscribe"))
    assert answer.status_code == 200
    assert "von neuen Geräten erfahren" in answer.text
    assert notices.door.count("unsubscribed") == 0


def test_an_old_mail_still_unsubscribes(notices: Notices) -> None:
    """For a year, when its other links are long over."""
    _let_unsubscribe(notices.door)
    long_ago = datetime.now(UTC) - timedelta(days=300)
    assert notices.press(notices.token("unsubscribe", recorded_at=long_ago)).status_code == 200
    assert notices.press(notices.token("disown", recorded_at=long_ago)).status_code == 410
    assert notices.door.count("unsubscribed") == 1
