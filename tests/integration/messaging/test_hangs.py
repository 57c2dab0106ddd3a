"""What ends a stock canvas in silence ends ours as a failure: in time, and with its error callback."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from celery import chain, chord
from celery.canvas import Signature

from services.domain.errors import Refused
from services.ledger.message import Message
from tests.integration.messaging.bench import SECONDS, Bench
from tests.integration.messaging.conftest import POOLS, Benches
from tests.integration.messaging.hangs import PLACES, STOPS, Hang, make
from tests.support.fleet import wait_until

SENT = ("by hand", "planned")

REASONS = {
    "ignores": "ignored",
    "unregistered": "unknown_task",
    "revoked": "revoked",
}

Key = tuple[str, str, str, str]


def is_refused(how: str, place: str, stop: str) -> bool:
    """Whether its sender is told at once that a canvas has no `expires`."""
    return stop == "expires" and (how == "planned" or place == "header")


def begun(bench: Bench, hang: Hang) -> Signature:
    """A planned canvas begins with a task, not with a header."""
    canvas: Signature = bench.sign("hand.say", "begin") | hang.canvas
    return canvas


class Sent:
    """All canvases of all workers, under way at once."""

    def __init__(self, benches: Benches) -> None:
        self.hangs: dict[Key, Hang] = {}
        self.workflows: dict[Key, UUID] = {}
        for style in POOLS:
            made = {
                (style, sent, place, stop): make(benches[style].script, place, stop)
                for sent in SENT
                for place in PLACES
                for stop in STOPS
            }
            bench = benches[style]
            messages: list[Message] = []
            for key, hang in made.items():
                if key[1] == "planned" and not is_refused(*key[1:]):
                    self.workflows[key], first = bench.accept(begun(bench, hang))
                    messages += first
            bench.revoke(*[hang.stopped for key, hang in made.items() if key[3] == "revoked"])
            bench.script.ledger.publish(messages)
            for key, hang in made.items():
                if key[1] == "by hand" and not is_refused(*key[1:]):
                    hang.canvas.apply_async()
            self.hangs |= made


@pytest.fixture(scope="module")
def sent(benches: Benches) -> Sent:
    return Sent(benches)


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("how", SENT)
@pytest.mark.parametrize("style", POOLS)
def test_a_canvas_ends(
    benches: Benches, sent: Sent, style: str, how: str, place: str, stop: str
) -> None:
    """Failed or dead with the reason, the message kept, the callback called once with the step to blame."""
    bench, key = benches[style], (style, how, place, stop)
    hang = sent.hangs[key]
    if is_refused(how, place, stop):
        with pytest.raises((Refused, ValueError), match="check a deadline inside the task"):
            bench.accept(begun(bench, hang)) if how == "planned" else hang.canvas.apply_async()
        return

    assert bench.wait_ended(hang.last) in ("failed", "dead", "blocked")
    wait_until(lambda: bench.errors(hang.tag), SECONDS, "no error callback")
    bench.flush()
    assert len(bench.errors(hang.tag)) == 1
    assert bench.script.AsyncResult(hang.last).state in ("FAILURE", "REVOKED")
    assert not bench.times(hang.last)
    if how == "planned":
        wait_until(lambda: bench.workflow_state(sent.workflows[key]) in ("failed", "dead"), SECONDS)
    if stop == "expires":
        # Refused where it would be published: its predecessor fails, and nothing is sent.
        assert not bench.reason(hang.stopped)
        return
    assert bench.errors(hang.tag) == [hang.blamed]
    assert bench.reason(hang.stopped) == REASONS[stop]
    bench.wait_dead_letter(hang.stopped)


def test_a_step_that_arrives_too_late(bench: Bench) -> None:
    """As another program's producer may send it, with the rest of its chain inside."""
    step_id, end_id, tag = (f"{name}-{uuid4().hex[:8]}" for name in ("late", "end", "tag"))
    end = bench.sign("hand.say", end_id, task_id=end_id)
    made = bench.script.amqp.as_task_v2(
        step_id,
        "hand.say",
        args=(step_id,),
        expires=datetime.now(UTC) - timedelta(seconds=1),
        chain=[dict(end)],
        errbacks=[dict(bench.on_error(tag))],
    )
    bench.publish(json.dumps(made.body), made.headers)

    assert bench.wait_ended(step_id) == "failed"
    assert bench.reason(step_id) == "expired"
    wait_until(lambda: bench.errors(tag), SECONDS, "no error callback")
    bench.flush()
    assert bench.errors(tag) == [step_id]
    assert bench.script.AsyncResult(end_id).state in ("FAILURE", "REVOKED")
    bench.wait_dead_letter(step_id)
    assert not bench.times(step_id) + bench.times(end_id)


@pytest.mark.parametrize("how", SENT)
def test_a_body_whose_sender_is_killed_runs(bench: Bench, how: str) -> None:
    """Killed between the join and the body's publish, where Celery's claim loses the body (F5)."""
    leaf = f"hand.leaf_{how.replace(' ', '_')}"
    body = bench.script.signature("hand.body", args=(f"claimed-{leaf}",))
    canvas = chord([bench.sign(leaf, "a"), bench.sign(leaf, "b")], body, app=bench.script)
    if how == "planned":
        workflow = bench.insert(chain(bench.sign("hand.say", "begin"), canvas, app=bench.script))
        wait_until(lambda: bench.workflow_state(workflow) == "done", SECONDS)
    else:
        assert canvas.apply_async().get(timeout=SECONDS) == 2

    assert (bench.directory / f"{leaf.removeprefix('hand.')}-killed").exists()
    bench.flush()
    assert len(bench.times(f"claimed-{leaf}")) == 1
