"""The broker enforces the permissions: each user can do its work, and nothing beside it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from amqp.exceptions import AccessRefused
from kombu import Connection
from kombu.transport.native_delayed_delivery import calculate_routing_key

from routing.topology import dead_queue_name
from routing.verify import differences
from tests.support.broker import TOPOLOGY, USERS, administrator, connect, url_of
from tests.support.rabbitmq import PrivateRabbitMQ
from tests.support.tiny_worker import PASSED_ON, make_app

DEADLINE_SECONDS = 30.0


def _is_allowed(connection: Connection, act: Callable[[Any], object]) -> bool:
    """Whether the broker lets `act` be done, on a channel of its own; the broker has answered then."""
    channel: Any = connection.channel()
    try:
        act(channel)
    except AccessRefused:
        return False
    channel.close()
    return True


def _wait_for(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.05)
    return value


def _sends(user: str) -> tuple[str, ...]:
    return TOPOLOGY.users[user].sends if user in TOPOLOGY.users else TOPOLOGY.sends_of(user)


@pytest.mark.parametrize("user", USERS)
def test_a_user_publishes_only_where_it_may(broker: PrivateRabbitMQ, user: str) -> None:
    """Each user reaches exactly the queues that the topology lets it send to; pools and the operator may delay."""
    delayed = {queue: calculate_routing_key(1, queue) for queue in TOPOLOGY.queues}
    entrance = TOPOLOGY.delays.entrance
    with connect(broker, user) as connection:

        def reached(exchange: str, keys: Mapping[str, str]) -> set[str]:
            def publish(key: str) -> Callable[[Any], object]:
                return lambda channel: channel.basic_publish(
                    channel.prepare_message(b"x"), exchange, key
                )

            return {name for name, key in keys.items() if _is_allowed(connection, publish(key))}

        plain = {queue: queue for queue in TOPOLOGY.queues}
        assert reached(TOPOLOGY.work_exchange, plain) == set(_sends(user))
        assert reached(entrance, delayed) == (
            set(_sends(user)) if user in (*TOPOLOGY.pools, "operator") else set()
        )
        assert reached(TOPOLOGY.dead_exchange, plain) == (
            set(plain) if user == "operator" else set()
        )
        around = {
            "": {"default exchange": "db_writes"},
            TOPOLOGY.work_exchange: {"delay key": delayed["db_writes"], "no queue": "nowhere"},
            entrance: {"no delay": "db_writes", "bare": calculate_routing_key(1, "x")},
            TOPOLOGY.delays.exit: {"exit": delayed["db_writes"]},
            TOPOLOGY.delays.level_name(0): {"short cut": delayed["db_writes"]},
        }
        assert {name: reached(name, keys) for name, keys in around.items()} == {
            name: set() for name in around
        }


def _get(channel: Any, queue: str) -> None:
    channel.basic_get(queue)


@pytest.mark.parametrize("user", USERS)
def test_a_user_reads_only_its_queues(broker: PrivateRabbitMQ, user: str) -> None:
    """A pool reads its own queues, the operator and maintenance the dead letters, and nobody else anything."""
    dead = {dead_queue_name(queue) for queue in TOPOLOGY.queues}
    names = [*TOPOLOGY.queues, *dead, TOPOLOGY.delays.entrance]
    with connect(broker, user) as connection:
        readable = {name for name in names if _is_allowed(connection, partial(_get, queue=name))}
    expected = set(TOPOLOGY.queues_of(user)) if user in TOPOLOGY.pools else set()
    assert readable == expected | (dead if user in ("operator", "maintenance") else set())


@pytest.mark.parametrize("user", USERS)
def test_a_user_declares_nothing(broker: PrivateRabbitMQ, user: str) -> None:
    """Nobody declares, deletes or rebinds a queue or an exchange of the topology, or a new one."""
    work, own = TOPOLOGY.work_exchange, f"celeryev.{'0' * 36}"
    acts: dict[str, Callable[[Any], object]] = {
        "new queue": lambda c: c.queue_declare("stray", durable=True),
        "queue with its arguments": lambda c: c.queue_declare("db_writes", durable=True),
        "new exchange": lambda c: c.exchange_declare("stray", "topic"),
        "exchange as it is": lambda c: c.exchange_declare(work, "topic", durable=True),
        "delete queue": lambda c: c.queue_delete("db_writes"),
        "delete exchange": lambda c: c.exchange_delete(work),
        "listen to work": lambda c: (
            c.queue_declare(own, exclusive=True),
            c.queue_bind(own, work, "#"),
        ),
    }
    with connect(broker, user) as connection:
        allowed = {name for name, act in acts.items() if _is_allowed(connection, act)}
    assert allowed == set()
    assert differences(TOPOLOGY, administrator(broker)) == []


@pytest.mark.parametrize("user", USERS)
def test_only_observers_command_and_hear_workers(broker: PrivateRabbitMQ, user: str) -> None:
    """Flower and the operator send control commands and bind to events; pools and senders do not."""
    queue = f"celeryev.{'0' * 36}"

    def hear(channel: Any) -> None:
        channel.exchange_declare("celeryev", "topic", durable=True, auto_delete=False)
        channel.queue_declare(queue, exclusive=True)
        channel.queue_bind(queue, "celeryev", "#")

    def command(channel: Any) -> None:
        channel.basic_publish(channel.prepare_message(b"{}"), "celery.pidbox", "")

    with make_app(url_of(broker, "flower")).connection_for_write() as first:
        observed: Any = first.default_channel
        observed.exchange_declare("celery.pidbox", "fanout", durable=False, auto_delete=False)
    with connect(broker, user) as connection:
        allowed = (_is_allowed(connection, hear), _is_allowed(connection, command))
    assert allowed == ((True, True) if user in ("flower", "operator") else (False, False))


@pytest.mark.parametrize("pool", TOPOLOGY.pools)
def test_a_pool_cannot_go_around_by_dead_letters(broker: PrivateRabbitMQ, pool: str) -> None:
    """The one queue that a pool may declare can be bound only to control commands."""
    queue = f"{pool}@x.celery.pidbox"
    exchanges = (TOPOLOGY.work_exchange, TOPOLOGY.delays.exit, "reply.celery.pidbox", "celeryev")

    def bind(channel: Any, exchange: str) -> None:
        channel.queue_declare(
            queue, exclusive=True, arguments={"x-dead-letter-exchange": "doorbell"}
        )
        channel.queue_bind(queue, exchange, "x")

    with connect(broker, pool) as connection:
        own: Any = connection.default_channel
        own.exchange_declare("reply.celery.pidbox", "direct", durable=False, auto_delete=False)
        own.exchange_declare("celeryev", "topic", durable=True, auto_delete=False)
        bound = [e for e in exchanges if _is_allowed(connection, partial(bind, exchange=e))]
    assert bound == []


@pytest.fixture
def worker(fresh_broker: PrivateRabbitMQ, tmp_path: Path) -> Iterator[Path]:
    """A running Celery worker of the pool device_checks under that pool's user; yields its log."""
    log = tmp_path / "worker.log"
    command = [sys.executable, "-m", "tests.support.tiny_worker", "device_checks"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, url_of(fresh_broker, "device_checks")],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=Path(__file__).resolve().parents[3],
        )
    try:
        _wait_for(lambda: "ready." in log.read_text() or process.poll() is not None, "the start")
        assert process.poll() is None, log.read_text()
        yield log
    finally:
        process.terminate()
        try:
            process.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_a_worker_lives_with_its_permissions(fresh_broker: PrivateRabbitMQ, worker: Path) -> None:
    """A real worker consumes, retries twice through the delays, sends on, and answers Flower's user."""
    gateway = make_app(url_of(fresh_broker, "gateway"))
    flower = make_app(url_of(fresh_broker, "flower"))
    look = {"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"}
    take = partial(fresh_broker.manage, "POST", "queues/doorbell/maintenance/get", look)
    seen: list[str] = []

    def note(body: Any, _: object) -> None:
        seen.extend(event["type"] for event in (body if isinstance(body, list) else [body]))

    with flower.connection_for_read() as connection:
        queue = flower.events.Receiver(connection).queue
        with connection.Consumer([queue], callbacks=[note], accept=["json"], no_ack=True):
            started = time.monotonic()
            gateway.send_task("device_checks.come_back", args=["hello"], queue="device_checks")
            while "task-succeeded" not in seen:
                connection.drain_events(timeout=DEADLINE_SECONDS)
            assert time.monotonic() - started > 1.5, "two retries of a second took no time"
    assert seen.count("task-received") == 3
    assert seen.count("task-retried") == 2
    message, *_ = _wait_for(take, "the message sent on")
    assert message["properties"]["headers"]["task"] == PASSED_ON
    assert message["payload"].startswith('[["hello", 2]')
    replies = _wait_for(lambda: flower.control.inspect(timeout=1).ping(), "an answer to ping")
    assert [name.partition("@")[0] for name in replies] == ["device_checks"]
    assert "ACCESS_REFUSED" not in worker.read_text()
    assert differences(TOPOLOGY, administrator(fresh_broker)) == []


def test_the_gateway_starts_only_first_steps(fresh_broker: PrivateRabbitMQ) -> None:
    """Through Celery too, the gateway is refused a queue that is not the first of a workflow."""
    gateway = make_app(url_of(fresh_broker, "gateway"))
    gateway.send_task("maintenance.relay")
    with pytest.raises(AccessRefused):
        gateway.send_task("db_writes.save_event", retry=False)


@pytest.mark.parametrize("delay_seconds", [0, 1])
def test_what_a_pool_gives_up_waits_among_the_dead(
    fresh_broker: PrivateRabbitMQ, delay_seconds: int
) -> None:
    """A rejected message, delayed or not, is kept for the operator, who can read and replay it."""
    pool = "db_writes"
    with connect(fresh_broker, pool) as connection, connect(fresh_broker, "operator") as ours:
        channel: Any = connection.default_channel
        exchange, key = TOPOLOGY.work_exchange, pool
        if delay_seconds:
            exchange = TOPOLOGY.delays.entrance
            key = calculate_routing_key(delay_seconds, pool)
        channel.basic_publish(channel.prepare_message(b"whole"), exchange, key)
        message = _wait_for(lambda: channel.basic_get(pool), "the delivery")
        channel.basic_reject(message.delivery_tag, requeue=False)
        operator: Any = ours.default_channel
        dead = _wait_for(lambda: operator.basic_get(dead_queue_name(pool)), "the dead letter")
        assert dead.body == b"whole"
        operator.basic_publish(dead, TOPOLOGY.work_exchange, pool)
        operator.basic_ack(dead.delivery_tag)
        assert _wait_for(lambda: channel.basic_get(pool), "the replay").body == b"whole"
