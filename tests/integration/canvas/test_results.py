"""What Celery's users do with results, on the ledger."""

from __future__ import annotations

from typing import Any

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


def _at(ours: Workshop, step_id: str) -> Any:
    """A result of which nothing but the id is known, read once it has ended."""
    result = ours.app.AsyncResult(step_id)
    wait_until(result.ready, SECONDS)
    return result


def test_an_id_leads_to_all_parents(ours: Workshop) -> None:
    """From the end of a chain with a chord in it up to its beginning, by ids alone."""
    sent = chain(
        ours.add.s(1, 1), group(ours.add.s(1), ours.add.s(2)), ours.total.s(), ours.add.s(1)
    ).apply_async()
    last = _at(ours, sent.id)
    assert last.result == 8
    assert last.parent.result == 7
    # Of a header the leaf is the parent that completed it, as with Redis.
    assert last.parent.parent.id in [leaf.id for leaf in sent.parent.parent.results]
    assert last.parent.parent.parent.result == 2
    assert last.parent.parent.parent.parent is None


def test_an_id_leads_to_all_children(ours: Workshop) -> None:
    """`collect` and `iterdeps` go down from the beginning, through groups."""
    sent = chain(ours.add.s(1, 1), group(ours.add.s(1), ours.add.s(2))).apply_async()
    assert sent.get(timeout=SECONDS) == [3, 4]
    first = _at(ours, sent.parent.id)
    (children,) = first.children
    assert isinstance(children, GroupResult)
    assert children.id == sent.id
    assert [value for _, value in first.collect(timeout=SECONDS)] == [2, [3, 4], 3, 4]
    assert [parent and parent.id for parent, _ in first.iterdeps()] == [
        None,
        first.id,
        sent.id,
        sent.id,
    ]


def test_the_parents_of_a_replaced_step_end(ours: Workshop) -> None:
    """It is the child of what it has sent itself."""
    sent = chain(ours.become.s(1), ours.add.s(100)).apply_async()
    at, seen = _at(ours, sent.id), []
    while at is not None:
        seen.append(at.id)
        at = at.parent
    assert len(seen) == len(set(seen)) == 3


def test_a_failed_step_is_told_by_its_id(ours: Workshop) -> None:
    """State, error and traceback, and those of who never ran behind it."""
    sent = chain(ours.fail.s(), ours.add.s(1)).apply_async()
    failed, behind = _at(ours, sent.parent.id), _at(ours, sent.id)
    assert (failed.state, behind.state) == ("FAILURE", "FAILURE")
    assert failed.failed()
    assert not failed.successful()
    assert isinstance(failed.result, ValueError)
    assert "as asked" in failed.traceback
    assert failed.get(propagate=False) is failed.result
    with pytest.raises(ValueError, match="as asked"):
        behind.get(timeout=SECONDS)


def test_a_forgotten_result_takes_no_parent_along(ours: Workshop) -> None:
    """What is found by its id is forgotten alone; a chain that was sent here with its parents, as in Celery."""
    sent = chain(ours.add.s(1, 1), ours.add.s(2)).apply_async()
    _at(ours, sent.id).forget()
    assert ours.app.AsyncResult(sent.id).state == "PENDING"
    assert ours.app.AsyncResult(sent.parent.id).state == "SUCCESS"
    sent.forget()
    assert ours.app.AsyncResult(sent.parent.id).state == "PENDING"


def test_a_restored_group_answers_as_the_one_that_was_saved(ours: Workshop) -> None:
    """Chains and chords in it included; somebody else restores it, with nothing but its id."""
    members = [
        chain(ours.add.s(1, 1), ours.add.s(1)),
        group(ours.add.s(2, 2), ours.add.s(3, 3)),
        chord([ours.add.s(1, 1), ours.add.s(2, 2)], ours.total.s()),
    ]
    sent = group(members).apply_async()
    sent.save()
    with ours.somebody_else() as app:
        restored = GroupResult.restore(sent.id, app=app)
        assert restored == sent
        assert restored.get(timeout=SECONDS) == [3, 4, 6, 6]
        assert restored.join(timeout=SECONDS) == [3, 4, 6, 6]
        assert restored.ready()
        assert restored.successful()
        assert not restored.failed()
        assert restored.completed_count() == 4
        assert [child.id for child in restored.children] == [child.id for child in sent.results]
        assert restored.results[0].parent.result == 2
        restored.delete()
    assert GroupResult.restore(sent.id, app=ours.app) is None


def test_a_group_with_a_failed_member(ours: Workshop) -> None:
    """All are ready, one has failed, and who joins is told of it."""
    sent = group(ours.add.s(1, 1), ours.fail.s()).apply_async()
    wait_until(sent.ready, SECONDS)
    assert sent.failed()
    assert not sent.successful()
    assert sent.completed_count() == 1
    assert [type(value) for value in sent.join(propagate=False)] == [int, ValueError]
    with pytest.raises(ValueError, match="as asked"):
        sent.get(timeout=SECONDS)


def test_a_group_that_a_task_saves_is_there_when_it_is_done(ours: Workshop) -> None:
    """With the task's own commit: who has its id can restore it."""
    group_id = ours.save_group.delay().get(timeout=SECONDS)
    assert GroupResult.restore(group_id, app=ours.app).get(timeout=SECONDS) == [2, 4]


def test_sending_reads_no_result(ours: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A canvas is put together without what its steps, which have not begun, have answered."""

    def asked(*_: object) -> None:
        raise AssertionError("the ledger was asked for a result")

    with monkeypatch.context() as patched:
        patched.setattr(type(ours.app.backend), "_get_task_meta_for", asked)
        sent = chord([ours.add.s(1, 1), ours.add.s(2, 2)], ours.total.s()).apply_async()
        chain(ours.add.s(1, 1), group(ours.add.s(1), ours.add.s(2)), ours.total.s()).apply_async()
    assert sent.get(timeout=SECONDS) == 6
