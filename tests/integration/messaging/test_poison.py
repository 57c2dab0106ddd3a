"""Poison: whatever a message is or does, it ends with its reason, and its neighbours are done."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest

from services.domain.errors import MessageTooLarge
from tests.integration.messaging.bench import SECONDS, VHOST, Bench
from tests.integration.messaging.conftest import POOLS, Benches
from tests.integration.messaging.poison import DONE, NO_STEP, POISON
from tests.support.fleet import wait_until

Fate = tuple[tuple[str | None, str | None], int]
"""A step's state and reason, and how many dead letters it has."""

TASKS = {"batch": "try.batch", "io": "try.call"}
NEIGHBOURS = 20
MOST_STARTS = 3
"""How often a neighbour of a step that kills its process may be started; a step's own limit is 6."""


class Neighbours:
    """Good steps around a bad one: in one list, or in flight beside it."""

    def __init__(self, bench: Bench, style: str) -> None:
        self.bench = bench
        # In flight for longer than a call needs to kill its process.
        first = "ok" if style == "batch" else "linger"
        words = [first] * (NEIGHBOURS // 2) + ["ok"] * (NEIGHBOURS // 2)
        self.items = [f"{word} {uuid4().hex[:8]}" for word in words]
        self._task = TASKS[style]
        self.ids: list[str] = []
        if style == "batch":
            # While it works, the others gather.
            bench.send(self._task, f"linger {uuid4().hex[:8]}")

    def send_half(self) -> None:
        half = self.items[len(self.ids) :][: NEIGHBOURS // 2]
        self.ids += self.bench.send(self._task, *half)

    def check(self, seconds: float = SECONDS) -> None:
        """All are done, each was started a few times at most, and none came near its own limit."""
        self.bench.ended(self.ids, seconds)
        others = self.bench.rows(
            "SELECT id, state, reason, retries, redeliveries FROM step"
            " WHERE id = ANY(%s) AND state <> 'done'",
            self.ids,
        )
        assert others == []
        starts = {item: self.bench.ran(item) for item in self.items}
        assert max(starts.values()) <= MOST_STARTS, starts
        rows = self.bench.rows("SELECT max(redeliveries) FROM step WHERE id = ANY(%s)", self.ids)
        assert rows[0][0] < MOST_STARTS


def surround(bench: Bench, style: str, *items: str, **options: Any) -> tuple[Neighbours, list[str]]:
    neighbours = Neighbours(bench, style)
    neighbours.send_half()
    ids = bench.send(TASKS[style], *items, **options)
    neighbours.send_half()
    return neighbours, ids


@pytest.mark.parametrize("style", POOLS)
def test_a_step_that_kills_its_process(benches: Benches, style: str) -> None:
    """Started six times and then kept, with the reason; the others were started thrice at most."""
    bench = benches[style]
    item = f"kill {uuid4().hex[:8]}"
    neighbours, (step_id,) = surround(bench, style, item)

    assert bench.ended([step_id], 60) == ["dead"]
    assert bench.reason(step_id) == "killed"
    assert bench.ran(item) == 6
    bench.wait_dead_letter(step_id)
    neighbours.check()


@pytest.mark.slow
@pytest.mark.parametrize("style", POOLS)
def test_three_steps_that_kill_their_process(benches: Benches, style: str) -> None:
    """Eighteen deaths in a row are still no fault of the neighbours."""
    bench = benches[style]
    items = [f"kill {uuid4().hex[:8]}" for _ in range(3)]
    neighbours, ids = surround(bench, style, *items)

    assert bench.ended(ids, 180) == ["dead"] * 3
    assert [bench.reason(step_id) for step_id in ids] == ["killed"] * 3
    neighbours.check()


@pytest.mark.parametrize("style", POOLS)
def test_a_step_past_its_hard_limit(benches: Benches, style: str) -> None:
    """Its process is ended; the message is kept, where Celery acks it; the others are done."""
    bench = benches[style]
    item = f"stuck {uuid4().hex[:8]}"
    neighbours, (step_id,) = surround(bench, style, item, soft_time_limit=20, time_limit=2)

    assert bench.ended([step_id], 40) == ["dead"]
    assert bench.reason(step_id) == "timeout"
    bench.wait_dead_letter(step_id)
    neighbours.check()


class Published:
    """All of POISON between good steps, on every worker; `fates` is what became of each."""

    def __init__(self, benches: Benches) -> None:
        self._mark = uuid4().hex[:8]
        self.neighbours: dict[str, Neighbours] = {}
        self.deaths: dict[str, int] = {}
        self.fates: dict[str, dict[str, Fate]] = {}
        for style in POOLS:
            bench = benches[style]
            self.deaths[style] = -len(bench.lines("start"))
            around = self.neighbours[style] = Neighbours(bench, style)
            around.send_half()
            for name, poison in POISON.items():
                step_id = self._id_of(name)
                bench.publish(
                    poison.body_for(step_id),
                    poison.headers_for(step_id),
                    step_id,
                    poison.content_type,
                    poison.content_encoding,
                )
            around.send_half()
        for style in POOLS:
            self.fates[style] = self._wait(benches[style])
            self.deaths[style] += len(benches[style].lines("start"))

    def _id_of(self, name: str) -> str:
        return f"{name}-{self._mark}".replace(" ", "-")

    def _wait(self, bench: Bench) -> dict[str, Fate]:
        """What became of each, once it is what it should be, or for good."""
        expected = {name: expected_fate(name) for name in POISON}
        with suppress(AssertionError):
            wait_until(lambda: self._look(bench) == expected, SECONDS)
        return self._look(bench)

    def _look(self, bench: Bench) -> dict[str, Fate]:
        rows = bench.rows(
            "SELECT id, state, reason FROM step WHERE id = ANY(%s)", [*map(self._id_of, POISON)]
        )
        steps = {step_id: (state, reason) for step_id, state, reason in rows}
        letters = [str(letter.properties.get("message_id")) for letter in bench.letters()]
        return {
            name: (steps.get(step_id, NO_STEP), letters.count(step_id))
            for name, step_id in ((name, self._id_of(name)) for name in POISON)
        }


def expected_fate(name: str) -> Fate:
    fate = POISON[name].fate
    return fate, 0 if fate == DONE else 1


@pytest.fixture(scope="module")
def published(benches: Benches) -> Published:
    return Published(benches)


@pytest.mark.parametrize("name", POISON)
@pytest.mark.parametrize("style", POOLS)
def test_a_message_that_no_worker_understands(published: Published, style: str, name: str) -> None:
    """Kept whole among the dead letters, once, with the reason in the ledger if it names a step."""
    assert published.fates[style][name] == expected_fate(name)


@pytest.mark.parametrize("style", POOLS)
def test_neighbours_of_such_messages(benches: Benches, published: Published, style: str) -> None:
    """They are done, and nobody's process died of a message that is only odd."""
    bench = benches[style]
    published.neighbours[style].check()
    wait_until(lambda: bench.node.peek(bench.pool, VHOST)[0] == 0, SECONDS)
    assert bench.rows("SELECT 1 FROM step WHERE id = ANY(%s)", ["", "5"]) == []
    assert published.deaths[style] == 0


@pytest.mark.parametrize("size", [64 * 1024, 200_000])
def test_a_message_too_large_is_refused_where_it_is_sent(bench: Bench, size: int) -> None:
    """In a script and from within a task; nothing was sent."""
    with pytest.raises(MessageTooLarge, match="pass ids instead of values"):
        bench.script.send_task("hand.say", ["x" * size])
    with pytest.raises(MessageTooLarge, match="pass ids instead of values"):
        bench.accept(bench.sign("hand.say", "x" * size))
