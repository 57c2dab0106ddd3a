"""Mails that came back after their server had taken them, on a real PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest

from services.domain.outcome import Done, NoticeEnded
from services.handlers.notify_user import notify_users
from services.handlers.settle_notice import answer_bounces
from tests.integration.adapters.conftest import World
from tests.integration.adapters.judging import apply, make_verdict

OTHER = "ada@recovery.example.net"


def _told(world: World, **facts: Any) -> str:
    """A notice of a new device that has left by mail."""
    with world.begin() as tx:
        (outcome,) = notify_users([world.on_second_device(**facts)], tx)
    assert isinstance(outcome, Done)
    (notice,) = outcome.notices
    world.rows("UPDATE notice SET state = 'sent', sent_at = now() WHERE id = %s", notice)
    return notice


def _bounce(world: World, status: str = "5.1.1", channel: str = "email") -> Done:
    """What the command notes, and what maintenance makes of it."""
    world.rows(
        "UPDATE notice SET bounced_at = now(), bounce = %s WHERE channel = %s", status, channel
    )
    with world.begin() as tx:
        return answer_bounces(tx)


def _channels(world: World) -> list[str]:
    return [
        row[0] for row in world.rows("SELECT channel FROM notice ORDER BY recorded_at, channel")
    ]


def _channels_of(world: World, agent: str) -> list[str]:
    statement = (
        "SELECT channel FROM notice JOIN reported_login USING (workflow_id) WHERE user_agent = %s"
    )
    return [row[0] for row in world.rows(statement, agent)]


def test_the_next_channel_takes_over(world: World) -> None:
    """Once; the notice that came back stays what it is, for it did leave."""
    world.give_webhook("https://example.org/")
    notice = _told(world)
    done = _bounce(world)
    assert (done.result, len(done.notices)) == ({"bounces": 1}, 1)
    assert done.effects == (NoticeEnded("email", "bounced"),)
    assert _channels(world) == ["email", "webhook"]
    assert world.rows("SELECT state FROM notice WHERE id = %s", notice) == [("sent",)]
    with world.begin() as tx:
        assert answer_bounces(tx).result == {"bounces": 0}


def test_without_a_next_one_the_application_hears(world: World) -> None:
    """That the notice reached nobody: its webhook was tried before."""
    notice = _told(world)
    world.give_webhook("https://example.org/")
    world.rows(
        "INSERT INTO notice (id, workflow_id, tenant_id, user_id, reason, channel)"
        " SELECT gen_random_uuid(), workflow_id, tenant_id, user_id, reason, 'webhook' FROM notice"
    )
    assert _bounce(world).notices == ()
    [(data,)] = world.rows("SELECT data FROM application_event WHERE type = 'notice.failed'")
    assert (data["notice_id"], data["channel"]) == (notice, "email")


@pytest.mark.parametrize(
    ("status", "is_avoided"),
    [
        ("5.1.1", True),
        ("5.1.10", True),
        ("5.2.2", False),
        ("5.7.1", False),
        ("5.0.0", False),
        ("4.4.7", False),
    ],
)
def test_an_address_that_does_not_exist_is_avoided(
    world: World, status: str, is_avoided: bool
) -> None:
    """For a month, and as long as it is the same one; not where the mail was late, or not wanted."""
    _told(world, other_email=OTHER)
    _bounce(world, status)
    _told(world, user_agent="Another/1.0", other_email=OTHER)
    assert _channels_of(world, "Another/1.0") == ["other_email" if is_avoided else "email"]
    _told(world, user_agent="Third/1.0", email="ada@new.example.org")
    assert _channels_of(world, "Third/1.0") == ["email"]
    world.rows(
        "UPDATE notice SET bounced_at = now() - interval '31 days' WHERE bounced_at IS NOT NULL"
    )
    _told(world, user_agent="Fourth/1.0", other_email=OTHER)
    assert _channels_of(world, "Fourth/1.0") == ["email"]


def test_where_there_is_nothing_else_it_is_tried_again(world: World) -> None:
    """Nobody is left untold because of what one mail server said once."""
    _told(world)
    _bounce(world)
    _told(world, user_agent="Another/1.0")
    assert _channels_of(world, "Another/1.0") == ["email"]


def test_addresses_that_are_gone_avoid_nothing(world: World) -> None:
    """Retention has taken those of old logins away."""
    _told(world, other_email=OTHER)
    _bounce(world)
    world.rows("UPDATE reported_login SET email = NULL, other_email = NULL")
    _told(world, user_agent="Another/1.0", other_email=OTHER)
    assert _channels_of(world, "Another/1.0") == ["email"]


def test_of_two_addresses_one_is_enough(world: World) -> None:
    """A verdict went to both: when the second one comes back, the first one stands."""
    world.give_webhook("https://example.org/")
    apply(world, make_verdict(world.saved(other_email=OTHER).workflow_id, "high", "challenge"))
    world.rows("UPDATE notice SET state = 'sent', sent_at = now()")
    assert _bounce(world, channel="other_email").notices == ()
    assert world.rows("SELECT count(*) FROM application_event WHERE type = 'notice.failed'") == [
        (0,)
    ]
    assert len(_bounce(world, channel="email").notices) == 1
    assert _channels(world)[-1] == "webhook"
