"""Retries and delays on quorum queues: none is lost, none is early, and none holds up what is due."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from time import time
from uuid import uuid4

import pytest

from tests.integration.messaging.bench import SECONDS, VHOST, Bench
from tests.integration.messaging.conftest import EARLY_SECONDS, POOLS, Benches
from tests.support.fleet import wait_until

RETRIES = 12
LATE_SECONDS = 2.5
"""How much later than asked for a step may run: the delay queues count whole seconds."""

LEAST_SECONDS = 0.95
"""Anything shorter becomes a second; timers may be a little early."""

COUNTDOWNS = (0.2, 0.999, 1, 1.9, 3)

HELD_UP_SECONDS = 2.0


def _by_script(bench: Bench, item: str, countdown: float) -> None:
    bench.script.send_task("hand.say", [item], countdown=countdown)


def _by_script_with_eta(bench: Bench, item: str, countdown: float) -> None:
    due = datetime.now(UTC) + timedelta(seconds=countdown)
    bench.script.send_task("hand.say", [item], eta=due)


def _by_registered_task(bench: Bench, item: str, countdown: float) -> None:
    bench.script.tasks["hand.say"].apply_async((item,), countdown=countdown)


def _by_retry(bench: Bench, item: str, countdown: float) -> None:
    bench.send("hand.come_back", item, kwargs={"times": 1, "countdown": countdown})


WAYS: dict[str, Callable[[Bench, str, float], None]] = {
    "script": _by_script,
    "script with eta": _by_script_with_eta,
    "task": _by_registered_task,
    "retry": _by_retry,
}


def item_of(way: str, countdown: float) -> str:
    return f"{way}-{countdown}".replace(" ", "-")


class Delays:
    """When everything was sent; it is all under way at once, for it is waiting that takes the time."""

    def __init__(self, benches: Benches, countdowns: tuple[float, ...], retries: int) -> None:
        self._benches = benches
        self.sent: dict[tuple[str, str], float] = {}
        self.problems: dict[tuple[str, str], Exception] = {}
        for style in POOLS:
            bench = benches[style]
            if retries:
                bench.send("hand.come_back", "dozen", kwargs={"times": retries, "countdown": 1})
            for way, send in WAYS.items():
                for countdown in countdowns:
                    key = (style, item_of(way, countdown))
                    self.sent[key] = time()
                    try:
                        send(bench, key[1], countdown)
                    except Exception as error:
                        self.problems[key] = error

    def waited(self, style: str, item: str, seconds: float) -> float:
        """How long the step waited, once it has run."""
        key = (style, item)
        if key in self.problems:
            raise self.problems[key]
        bench = self._benches[style]
        # A retry's first run is what it waits from.
        runs = 2 if item.startswith("retry") else 1
        wait_until(lambda: len(bench.times(item)) >= runs, seconds, f"{item} never ran")
        times = bench.times(item)
        assert len(times) == runs
        return times[-1] - (times[0] if runs == 2 else self.sent[key])


@pytest.fixture(scope="module")
def delays(benches: Benches) -> Delays:
    """Everything that is waited for; done before another test stops a worker."""
    made = Delays(benches, COUNTDOWNS, RETRIES)
    for style in POOLS:
        wait_until(
            lambda style=style: len(benches[style].times("dozen")) > RETRIES,  # type: ignore[misc]
            RETRIES * 3,
            f"{style}: {len(benches[style].times('dozen'))} calls of {RETRIES + 1}",
        )
    return made


@pytest.mark.parametrize("style", POOLS)
def test_twelve_retries_all_happen(delays: Delays, benches: Benches, style: str) -> None:
    """A second each; the routing key does not grow, and no broker takes the round trip for a loop."""
    times = benches[style].times("dozen")

    assert len(times) == RETRIES + 1
    assert RETRIES * LEAST_SECONDS <= times[-1] - times[0] < RETRIES * 1.6
    assert min(b - a for a, b in pairwise(times)) >= LEAST_SECONDS


@pytest.mark.parametrize("countdown", COUNTDOWNS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("style", POOLS)
def test_a_countdown_is_kept(delays: Delays, style: str, way: str, countdown: float) -> None:
    """However short or odd: neither refused nor early, and not much later; once."""
    waited = delays.waited(style, item_of(way, countdown), SECONDS)

    assert max(countdown - 0.05, LEAST_SECONDS) <= waited < max(countdown, 1) + LATE_SECONDS


@pytest.mark.parametrize("style", POOLS)
def test_a_delay_from_before_the_first_worker(benches: Benches, delays: Delays, style: str) -> None:
    """The definitions have the delays: a producer needs no worker to have declared anything."""
    bench = benches[style]
    times = wait_until(lambda: bench.times(f"early-{style}"), SECONDS, "it never ran")

    assert len(times) == 1
    assert times[0] - benches.sent_early[style] >= EARLY_SECONDS - 0.05


@pytest.mark.parametrize("style", POOLS)
def test_delayed_steps_hold_up_no_other(benches: Benches, delays: Delays, style: str) -> None:
    """500 that wait for a minute, half of them by a retry, take no place in the worker."""
    bench = benches[style]
    mark = uuid4().hex[:8]
    with bench.script.producer_or_acquire() as producer:
        for _ in range(250):
            bench.script.send_task("hand.say", [f"far-{mark}"], producer=producer, countdown=60)
    retried = bench.send(
        "hand.come_back", *[f"later-{mark}"] * 250, kwargs={"times": 1, "countdown": 60}
    )
    wait_until(
        lambda: _retrying(bench, retried) == len(retried), SECONDS, "not all have been tried"
    )
    sent = time()
    bench.send("hand.say", f"now-{mark}")
    (ran,) = wait_until(lambda: bench.times(f"now-{mark}"), SECONDS)

    assert ran - sent < HELD_UP_SECONDS
    assert not bench.times(f"far-{mark}")
    waiting = sum(bench.node.peek(f"celery_delayed_{n}", VHOST)[0] for n in range(28))
    assert waiting >= 500
    for level in range(28):
        bench.node.manage("DELETE", f"queues/{VHOST}/celery_delayed_{level}/contents")
    # Otherwise they would be found lost one day.
    bench.rows("DELETE FROM step WHERE id = ANY(%s)", retried)


def _retrying(bench: Bench, ids: list[str]) -> int:
    statement = (
        "SELECT count(*) FROM step WHERE id = ANY(%s) AND published_at IS NOT NULL AND retries = 1"
    )
    return int(bench.rows(statement, ids)[0][0])


@pytest.mark.parametrize("style", POOLS)
def test_delayed_messages_outlast_their_workers(
    benches: Benches, delays: Delays, style: str
) -> None:
    """No worker of the queue is there when the time is up: the message waits in the queue."""
    bench = benches[style]
    item = f"kept-{uuid4().hex[:8]}"
    bench.fleet.stop(bench.pool)
    bench.wait_for_consumers(0)
    bench.script.send_task("hand.say", [item], countdown=1)
    wait_until(lambda: bench.node.peek(bench.pool, VHOST)[0] == 1, SECONDS, "nothing arrived")
    assert not bench.times(item)

    bench.start()
    wait_until(lambda: len(bench.times(item)) == 1, SECONDS, "it never ran")


@pytest.mark.slow
def test_a_minute(benches: Benches) -> None:
    """As long as a retry's longest pause: through six of the delay queues."""
    made = Delays(benches, (60,), 0)
    waited = {
        (style, way): made.waited(style, item_of(way, 60), 90) for style in POOLS for way in WAYS
    }

    assert all(59.95 <= seconds < 60 + LATE_SECONDS for seconds in waited.values()), waited
