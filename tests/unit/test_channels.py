"""A channel that the domain knows can be chosen, and what is chosen can be sent."""

from __future__ import annotations

from typing import get_args

from services.adapters.clock import SystemClock
from services.adapters.networks import AddressData
from services.adapters.webhook import HttpWebhookSender
from services.bootstrap import make_senders
from services.domain.model import Channel
from services.handlers.channels import CHANNELS
from services.settings import Settings


def test_every_channel_has_its_terms_and_its_sender() -> None:
    """One without would be recorded, and refused when it is to be delivered."""
    known = set(get_args(Channel))
    settings = Settings("pyamqp://broker", "postgresql://database", smtp_url="smtp://mail")
    made = make_senders(settings, HttpWebhookSender([], SystemClock()), AddressData())

    assert CHANNELS.keys() == known
    assert made.keys() == known
