"""Acks of one channel's messages, gathered while the consumer's loop turns once."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)


class Acks:
    """Stands in the place of a message's channel, which an ack or a rejection goes to.

    What nothing older is unsettled before is acked with one frame for all of it (AMQP 0-9-1,
    basic.ack with `multiple`): a list of steps ends at once. Every message of the channel
    has to be told of by `deliver`, in the order of their tags. For the consumer's loop only.
    """

    def __init__(
        self,
        channel: Any,
        call_soon: Callable[[Callable[[], None]], Any],
        errors: tuple[type[BaseException], ...],
    ) -> None:
        """call_soon: of the loop. errors: what the channel raises when its connection is gone."""
        self._channel = channel
        self._call_soon = call_soon
        self._errors = errors
        self._unsettled: deque[int] = deque()
        self._gathered: set[int] = set()
        self._settled: set[int] = set()
        """Told to the broker, behind others that are unsettled."""
        self._is_gone = False
        self.no_ack_consumers = channel.no_ack_consumers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def is_of(self, channel: Any) -> bool:
        return self._channel is channel

    def deliver(self, message: Any) -> None:
        """Take a message over, before anybody can ack it."""
        self._unsettled.append(message.delivery_tag)
        message.channel = self

    def basic_ack(self, tag: int, multiple: bool = False) -> None:
        """As a channel's, but not sent before the loop's next turn; nothing, once its connection is gone."""
        if multiple:
            raise ValueError("acks of several messages are made here, not asked for")
        if self._is_gone:
            return
        if not self._gathered:
            self._call_soon(self.flush)
        self._gathered.add(tag)

    def basic_reject(self, tag: int, requeue: bool) -> None:
        """As a channel's, at once."""
        self._settled.add(tag)
        self._channel.basic_reject(tag, requeue=requeue)

    def flush(self) -> None:
        """Send what was gathered; if that fails, the messages come again and find their steps done."""
        gathered, self._gathered = self._gathered, set()
        last = self._pass_settled(gathered)
        try:
            if last is not None:
                self._channel.basic_ack(last, multiple=True)
            for tag in sorted(gathered):
                self._channel.basic_ack(tag)
        except self._errors as error:
            self._is_gone = True
            logger.warning("acks could not be sent, their messages come again: %s", error)

    def _pass_settled(self, gathered: set[int]) -> int | None:
        """Take the tags that one ack is enough for out of `gathered`; returns the last of them."""
        last = None
        while self._unsettled:
            tag = self._unsettled[0]
            if tag in gathered:
                gathered.discard(tag)
                last = tag
            elif tag in self._settled:
                self._settled.discard(tag)
            else:
                break
            self._unsettled.popleft()
        self._settled |= gathered
        return last
