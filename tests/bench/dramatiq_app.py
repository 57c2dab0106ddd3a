"""The main workflow in dramatiq (2.2), with confirms: actors that send what follows, and a group with a callback.

What it promises: a message is confirmed when it is published and acked when its actor has ended, so
that work is done at least once. A kill between may do an effect twice; what a step's end sends
is lost if the process dies before it.
"""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits.backends import RedisBackend

from tests.bench import work
from tests.bench.work import Json

broker = RabbitmqBroker(url=os.environ["RIVAL_BROKER"], confirm_delivery=True)
broker.add_middleware(GroupCallbacks(RedisBackend(url=os.environ["RIVAL_BACKEND"])))
dramatiq.set_broker(broker)


@dramatiq.actor
def check_device(login: Json) -> None:
    """Is this the user's known device? Then the two steps at once, and behind both the score."""
    checked = work.check_device(login)
    both = dramatiq.group([notify_user.message(checked), save_event.message(checked)])
    both.add_completion_callback(score_login.message(checked))
    both.run()


@dramatiq.actor
def notify_user(login: Json) -> None:
    """Mail the user when the device is new, but not the first."""
    work.notify_user(login)


@dramatiq.actor
def save_event(login: Json) -> None:
    """Store the login."""
    work.save_event(login)


@dramatiq.actor
def score_login(login: Json) -> None:
    """Ask the outlier API."""
    apply_verdict.send(work.score_login(login))


@dramatiq.actor
def apply_verdict(login: Json) -> None:
    """Store the verdict, flip switches by the same policy, tell the user of a high level."""
    work.apply_verdict(login)


def send(login: Json) -> None:
    """Send a login's workflow, as `tests.bench.rival_send` wants it."""
    check_device.send(login)
