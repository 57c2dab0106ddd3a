"""Events of a worker whose connection for them is lost."""

from __future__ import annotations

import socket
import threading

from celery import Celery

from services.observability.events import RedactedEvents
from tests.support.ports import free_port
from tests.support.rabbitmq import ADMINISTRATOR, PrivateRabbitMQ


def test_a_lost_connection_holds_nobody_up(node: PrivateRabbitMQ) -> None:
    """Celery sends heartbeats from the consumer's loop: one that cannot be sent is given back, and kept for later."""
    broker = node.broker_url(ADMINISTRATOR, node.password, "doorbell")
    app = Celery(broker=broker, events=RedactedEvents, set_as_current=False)
    sent = threading.Event()
    lost: list[socket.socket] = []
    connection = app.connection_for_write()
    dispatcher = app.events.Dispatcher(connection, hostname="w@h")

    def lose_it() -> None:
        dispatcher.send("worker-heartbeat", retry=True)
        connection.port = free_port()
        lost.append(connection.connection.transport.sock)
        lost[0].shutdown(socket.SHUT_RDWR)
        dispatcher.send("worker-heartbeat", retry=True)
        sent.set()

    threading.Thread(target=lose_it, daemon=True).start()
    assert sent.wait(15)
    assert len(dispatcher._outbound_buffer) == 1

    connection.port = int(broker.rpartition(":")[2].partition("/")[0])
    dispatcher.send("worker-heartbeat", retry=True)
    dispatcher.flush()
    assert not dispatcher._outbound_buffer
    connection.close()
    lost[0].close()
