"""The proxy in front of the broker: messages arrive, their confirms do not."""

from __future__ import annotations

import socket

import pytest
from kombu import Connection, Queue

from tests.support.faults.confirms import ConfirmSwallower
from tests.support.fleet import wait_until
from tests.support.rabbitmq import ADMINISTRATOR, PrivateRabbitMQ

VHOST = "doorbell"


def test_a_message_arrives_and_its_confirm_does_not(node: PrivateRabbitMQ) -> None:
    """A publisher that waits for the confirm times out, though the queue holds its message."""
    direct = node.broker_url(ADMINISTRATOR, node.password, VHOST)
    with ConfirmSwallower(node.amqp_port) as swallower:
        through = direct.replace(f":{node.amqp_port}/", f":{swallower.port}/")
        with Connection(through, transport_options={"confirm_publish": True}) as connection:
            queue = Queue("confirms", channel=connection.default_channel, auto_delete=True)
            queue.declare()
            producer = connection.Producer()
            producer.publish("first", routing_key="confirms", confirm_timeout=5)

            swallower.swallow()
            with pytest.raises(socket.timeout):
                producer.publish("second", routing_key="confirms", confirm_timeout=0.5)
            assert swallower.swallowed == 1
            wait_until(lambda: node.peek("confirms", VHOST)[0] == 2, 10)

            swallower.pass_confirms()
            with pytest.raises(connection.connection_errors):
                connection.drain_events(timeout=5)

        with Connection(through, transport_options={"confirm_publish": True}) as connection:
            connection.Producer().publish("third", routing_key="confirms", confirm_timeout=5)
            Queue("confirms", channel=connection.default_channel).delete()
        assert swallower.published == 3


def test_consumers_do_not_notice(node: PrivateRabbitMQ) -> None:
    """Only confirms vanish: deliveries and the client's own acks pass."""
    direct = node.broker_url(ADMINISTRATOR, node.password, VHOST)
    with ConfirmSwallower(node.amqp_port) as swallower:
        swallower.swallow()
        through = direct.replace(f":{node.amqp_port}/", f":{swallower.port}/")
        with Connection(direct) as publisher, Connection(through) as consumer:
            queue = Queue("deliveries", channel=consumer.default_channel)
            queue.declare()
            publisher.Producer().publish("hello", routing_key="deliveries")
            message = wait_until(queue.get, 10)
            assert message is not None
            message.ack()
    # Closing the connection would have put an unacked message back.
    assert node.peek("deliveries", VHOST) == (0, 0)
    assert message.payload == "hello"
    assert swallower.swallowed == 0
