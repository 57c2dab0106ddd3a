"""What Celery's users do with results, on the ledger."""

from __future__ import annotations

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError
from celery.result import GroupResult

from services.domain.errors import MessageTooLarge
from tests.integration.canvas.conftest import Workshop
from tests.support.fleet import wait_until

SECONDS = 30


def test_a_result_is_read_by_class_and_by_id(ours: Workshop) -> None:
    """The state, the value and the predicates agree, whoever asks."""
    sent = ours.add.delay(2, 3)

    assert sent.get(timeout=SECONDS) == 5
    by_class, by_id = ours.add.AsyncResult(sent.id), ours.app.AsyncResult(sent.id)
    for result in (by_class, by_id):
        assert result.state == "SUCCESS"
        assert result.result == 5
        assert result.ready()
        assert result.successful()
        assert not result.failed()


def test_an_unknown_id_is_pending(ours: Workshop) -> None:
    """Celery's word for an id that nobody has seen."""
    result = ours.app.AsyncResult("no-such-step")

    assert result.state == "PENDING"
    assert not result.ready()


def test_a_failure_is_raised_with_its_type_and_traceback(ours: Workshop) -> None:
    """`get` raises what the task raised."""
    result = ours.fail.delay()

    with pytest.raises(ValueError, match="as asked"):
        result.get(timeout=SECONDS)
    assert result.state == "FAILURE"
    assert "as asked" in result.traceback


def test_a_chain_knows_its_parents(ours: Workshop) -> None:
    """Each result of a chain leads back to the one before."""
    last = chain(ours.add.s(1, 1), ours.add.s(2), ours.add.s(3)).apply_async()

    assert last.get(timeout=SECONDS) == 7
    assert last.parent.get(timeout=SECONDS) == 4
    assert last.parent.parent.get(timeout=SECONDS) == 2


def test_children_are_the_steps_that_a_step_sent(ours: Workshop) -> None:
    """A task that sends another by hand has it as its child, and the child runs."""
    parent = ours.send_another.delay()

    child_id = parent.get(timeout=SECONDS)
    assert [child.id for child in parent.children] == [child_id]
    assert parent.children[0].get(timeout=SECONDS) == 2


def test_a_group_is_saved_and_restored(ours: Workshop) -> None:
    """GroupResult keeps its order and can be found by its id."""
    sent = group(ours.add.s(i, i) for i in range(5)).apply_async()
    sent.save()

    restored = GroupResult.restore(sent.id, app=ours.app)
    assert restored.join(timeout=SECONDS) == [0, 2, 4, 6, 8]
    assert restored.ready()
    restored.delete()
    assert GroupResult.restore(sent.id, app=ours.app) is None


def test_a_large_result_is_kept(ours: Workshop) -> None:
    """A result need not fit into a message as long as it is not sent on."""
    assert len(ours.large.delay(1_000_000).get(timeout=SECONDS)) == 1_000_000


def test_a_large_result_is_not_sent_on(ours: Workshop) -> None:
    """The step whose successor's message would be too large fails and says why."""
    result = chain(ours.large.s(100_000), ours.identity.s()).apply_async()

    with pytest.raises(Exception, match="pass ids instead of values"):
        result.parent.get(timeout=SECONDS)


def test_a_large_message_is_refused_where_it_is_sent(ours: Workshop) -> None:
    """The publisher says so; nothing reaches the broker."""
    with pytest.raises(MessageTooLarge, match=r"hand\.identity is .* bytes"):
        ours.identity.delay("x" * 100_000)


def test_a_result_that_is_not_json_fails_its_step(ours: Workshop) -> None:
    """The step fails with the encoder's words instead of hanging."""
    result = ours.strange.delay()

    with pytest.raises(Exception, match="not JSON serializable"):
        result.get(timeout=SECONDS)


def test_a_task_that_ignores_its_result_runs_once(ours: Workshop) -> None:
    """The ledger notes that it is done, and keeps no value."""
    ours.forget()
    result = ours.silent.apply_async()

    wait_until(lambda: ours.app.AsyncResult(result.id).state == "SUCCESS", SECONDS)
    assert ours.seen("silent") == 1
    assert ours.app.AsyncResult(result.id).result is None


def test_results_of_what_was_sent_by_hand_expire(ours: Workshop) -> None:
    """celery.backend_cleanup deletes ended steps that are older than a day, and no younger ones."""
    old, young = ours.add.delay(1, 1), ours.add.delay(2, 2)
    assert [old.get(timeout=SECONDS), young.get(timeout=SECONDS)] == [2, 4]
    with ours.app.ledger.connection() as connection:
        connection.execute(
            "UPDATE step SET finished_at = now() - interval '25 hours' WHERE id = %s", [old.id]
        )

    ours.app.tasks["celery.backend_cleanup"].delay().get(timeout=SECONDS)
    assert ours.app.AsyncResult(old.id).state == "PENDING"
    assert ours.app.AsyncResult(young.id).result == 4


def test_map_and_starmap(ours: Workshop) -> None:
    """They run where `celery.*` is routed, in the order of their items."""
    assert ours.identity.map([1, 2, 3]).apply_async().get(timeout=SECONDS) == [1, 2, 3]
    pairs = ours.add.starmap([(1, 1), (2, 2)]).apply_async()
    assert pairs.get(timeout=SECONDS) == [2, 4]


def test_a_retry_inside_a_group_counts_once(ours: Workshop) -> None:
    """The chord's body runs once, after the member that came back three times."""
    ours.forget()
    result = chord([ours.come_back.s(5), ours.add.s(1, 1)], ours.total.s()).apply_async()

    assert result.get(timeout=SECONDS) == 7
    assert ours.seen("come_back 5") == 3
    assert ours.seen("total") == 1


def test_nested_groups_in_headers_hold_no_process(ours: Workshop) -> None:
    """Twenty chords with nested headers at once all end: no join waits inside a worker."""
    ours.forget()
    results = [
        chord(
            [group(ours.add.s(1, 1), ours.add.s(2, 2)), ours.add.s(3, 3), ours.add.s(4, 4)],
            ours.total.s(),
        ).apply_async()
        for _ in range(20)
    ]

    assert [result.get(timeout=SECONDS) for result in results] == [20] * 20
    assert ours.seen("total") == 20


def test_a_failed_header_fails_the_body(ours: Workshop) -> None:
    """The body's result raises ChordError, and says which dependency raised what."""
    result = chord([ours.add.s(1, 1), ours.fail.s()], ours.total.s()).apply_async()

    with pytest.raises(ChordError, match="raised ValueError"):
        # Followed to its parents, a result raises the header's own error where that came first.
        result.get(timeout=SECONDS, follow_parents=False)
