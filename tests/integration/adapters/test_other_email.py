"""A user's second address: on a real PostgreSQL, to a real SMTP server."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from services.adapters.clock import SystemClock
from services.adapters.smtp import SmtpMailer
from services.adapters.smtp_sessions import MailServer as Target
from services.adapters.webhook import HttpWebhookSender
from services.domain.outcome import Done, NoticeEnded
from services.domain.policy import DEFAULT
from services.handlers.channels import senders
from services.handlers.deliver_notice import deliver_notice
from services.handlers.notify_user import notify_users, tell_folded
from services.handlers.settle_notice import try_next_channels
from tests.integration.adapters.conftest import World
from tests.integration.adapters.judging import apply, make_verdict
from tests.integration.adapters.mail_server import MailServer, mail_server

OTHER = "ada@recovery.example.net"


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with mail_server() as running:
        yield running


def _notices(world: World) -> list[tuple[str, str]]:
    return [
        (str(channel), str(state))
        for channel, state in world.rows("SELECT channel, state FROM notice ORDER BY channel")
    ]


def _notify(world: World, **facts: Any) -> tuple[str, ...]:
    with world.begin() as tx:
        (outcome,) = notify_users([world.on_second_device(other_email=OTHER, **facts)], tx)
    assert isinstance(outcome, Done)
    return outcome.notices


def _give_up(world: World, notice_id: str) -> Done:
    with world.begin() as tx:
        (outcome,) = try_next_channels([UUID(notice_id)], tx)
    assert isinstance(outcome, Done)
    return outcome


def _failures(world: World) -> int:
    """How often the application hears that a notice reached nobody."""
    statement = "SELECT count(*) FROM application_event WHERE type = 'notice.failed'"
    return int(world.rows(statement)[0][0])


def _judge(world: World) -> dict[str, str]:
    """A verdict that the user is told of; the notices' ids by channel."""
    apply(world, make_verdict(world.saved(other_email=OTHER).workflow_id, "high", "challenge"))
    return {channel: str(key) for channel, key in world.rows("SELECT channel, id FROM notice")}


def test_a_new_device_is_told_to_the_first_address(world: World) -> None:
    """The second one is for when that is not reached, and the application for when neither is."""
    world.give_webhook("https://example.org/")
    (first,) = _notify(world)
    assert _notices(world) == [("email", "recorded")]
    (second,) = _give_up(world, first).notices
    assert _notices(world) == [("email", "superseded"), ("other_email", "recorded")]
    (third,) = _give_up(world, second).notices
    assert _notices(world)[1:] == [("other_email", "superseded"), ("webhook", "recorded")]
    assert _give_up(world, third).effects == (NoticeEnded("webhook", "failed"),)


@pytest.mark.parametrize(("first", "second"), [("email", "other_email"), ("other_email", "email")])
@pytest.mark.parametrize("told", ["user", "both"])
def test_what_does_not_look_like_the_user_goes_to_both(
    world: World, first: str, second: str, told: Any
) -> None:
    """One of them is enough; only when both have failed the application hears, by the webhook or of the failure."""
    world.give_webhook("https://example.org/")
    policy = replace(DEFAULT, tell={"new_device": "user", "verdict": told})
    world.rows("UPDATE tenant SET policy = %s", Jsonb(policy.to_document()))
    ids = _judge(world)
    assert set(ids) == {"email", "other_email", *(["webhook"] if told == "both" else [])}
    one = _give_up(world, ids[first])
    assert (one.notices, one.effects) == ((), (NoticeEnded(first, "superseded"),))  # type: ignore[arg-type]
    assert _failures(world) == 0
    other = _give_up(world, ids[second])
    assert len(other.notices) == (told == "user")
    assert _failures(world) == (told == "both")
    assert ("webhook", "recorded") in _notices(world)


def test_an_address_that_was_reached_is_enough(world: World) -> None:
    """Whatever becomes of the other one."""
    world.give_webhook("https://example.org/")
    ids = _judge(world)
    world.rows("UPDATE notice SET state = 'sent', sent_at = now() WHERE channel = 'other_email'")
    assert _give_up(world, ids["email"]).notices == ()
    assert (_failures(world), len(_notices(world))) == (0, 2)


def test_of_two_that_fail_at_once_one_looks_on(world: World) -> None:
    """The second one waits for the first, and sees that it was given up."""
    world.give_webhook("https://example.org/")
    ids = _judge(world)
    with ThreadPoolExecutor(2) as threads:
        done = list(threads.map(lambda it: _give_up(world, it), ids.values()))
    assert sorted(len(it.notices) for it in done) == [0, 1]


def test_the_mail_goes_to_the_address_of_its_notice(world: World, mails: MailServer) -> None:
    """It says the same."""
    _judge(world)
    mailer = SmtpMailer(Target.from_url(mails.url), "d@example.org", SystemClock())
    webhooks = HttpWebhookSender([], SystemClock())
    ways = senders(mailer, webhooks, world.networks)
    with closing(mailer), closing(webhooks):
        for (key,) in world.rows("SELECT id FROM notice ORDER BY channel"):
            outcome = deliver_notice(key, world.directly, ways)
            assert isinstance(outcome, Done)
    assert mails.recipients == ["ada@example.org", OTHER]
    first, second = (mail.get_body(("plain",)) for mail in mails.mails)
    assert first is not None
    assert second is not None
    assert first.get_content() == second.get_content()


@pytest.mark.parametrize(
    ("facts", "channels"),
    [
        ({"email": None}, ["other_email"]),
        ({"email": OTHER}, ["email"]),
        ({"email": OTHER.upper()}, ["email"]),
        ({}, ["email"]),
    ],
)
def test_one_address_is_told_once(world: World, facts: dict[str, Any], channels: list[str]) -> None:
    """Where there is no first one the second takes its place; the same twice is one."""
    (notice,) = _notify(world, **facts)
    assert [channel for channel, _ in _notices(world)] == channels
    has_more = channels == ["email"] and "email" not in facts
    assert len(_give_up(world, notice).notices) == has_more


def test_neither_gets_more_than_its_share(world: World) -> None:
    """What is too much for the only address, though it is the second, is told together later."""
    world.rows("UPDATE tenant SET policy = NULL")
    logins = [
        world.report(user_agent=f"Browser{n}/1.0", email=None, other_email=OTHER) for n in range(12)
    ]
    checks = [world.check(login)[0] for login in logins]
    with world.begin() as tx:
        notify_users(checks, tx)
    assert _notices(world) == [("other_email", "recorded")] * 10
    world.rows("UPDATE folded_notice SET folded_at = now() - interval '2 hours'")
    with world.begin() as tx:
        told = tell_folded(tx)
    assert len(told.notices) == 1
    assert world.rows("SELECT channel FROM notice WHERE reason = 'folded'") == [("other_email",)]


def test_who_has_unsubscribed_gets_mail_at_neither(world: World) -> None:
    """About devices; what does not look like the user is told all the same."""
    policy = replace(DEFAULT, may_unsubscribe=True)
    world.rows("UPDATE tenant SET policy = %s", Jsonb(policy.to_document()))
    world.rows("INSERT INTO unsubscribed (tenant_id, user_id) VALUES ('shop', 'ada')")
    assert _notify(world) == ()
    assert set(_judge(world)) == {"email", "other_email"}
