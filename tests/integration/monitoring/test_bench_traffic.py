"""What the benchmark says went through a real broker."""

from __future__ import annotations

from kombu import Connection

from tests.bench.traffic import Counters
from tests.support.broker import TOPOLOGY
from tests.support.rabbitmq import ADMINISTRATOR, PrivateRabbitMQ

_MESSAGES = 100
_BODY = b"x" * 10_000


def test_the_bytes_of_the_last_seconds_are_counted_and_of_those_before_none(
    node: PrivateRabbitMQ,
) -> None:
    """A connection tells its bytes every five seconds only; a whole run may be shorter."""
    url = node.broker_url(ADMINISTRATOR, node.password, TOPOLOGY.vhost)
    with Connection(url) as connection, connection.channel() as channel:

        def publish(number: int) -> None:
            for _ in range(number):
                channel.basic_publish(channel.prepare_message(_BODY), "", "nowhere")

        publish(3 * _MESSAGES)
        counters = Counters(node.prometheus_port)
        publish(_MESSAGES)
        passed = counters.read()

    assert passed.published == _MESSAGES
    assert 1.0 <= passed.bytes_in / (_MESSAGES * len(_BODY)) < 1.1
