"""Each step may send what its canvas has it send: the broker refuses a message to a queue that no `sends` names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from celery import Celery
from celery.canvas import Signature, _chain, _chord, group

from routing.load import load
from services.canvas.canary import canary
from services.canvas.delivery import delivery
from services.canvas.digesting import digesting
from services.canvas.erasing import erasing
from services.canvas.exporting import exporting
from services.canvas.importing import importing
from services.canvas.lockdown import lockdown, notice_queues, undoing
from services.canvas.login import login_workflow
from services.canvas.rescoring import rescoring
from services.canvas.telling import telling
from services.domain import slices
from services.domain.incident import Portion, Slice

TOPOLOGY = load()
ANY = UUID(int=0)
PORTION = Portion((Slice(ANY, 0, 1),), 1)
USERS = slices.Slice(0, 0)
Place = tuple[str, str]
"""A task, and the queue that it goes to."""

CANVASES: dict[str, tuple[Callable[[Celery], Signature], list[str]]] = {
    # By its module, with who starts it: tasks, or users of the broker.
    "login": (lambda app: login_workflow(app, ANY), ["gateway"]),
    "exporting": (lambda app: exporting(app, ANY), ["gateway", "operator"]),
    "erasing": (lambda app: erasing(app, ANY), ["operator"]),
    "importing": (lambda app: importing(app, ANY, [[[USERS], [USERS]]]), ["gateway"]),
    "lockdown": (
        lambda app: group([lockdown(app, [PORTION]), undoing(app, [PORTION])], app=app),
        ["gateway", "operator"],
    ),
    "digesting": (
        lambda app: digesting(app, ANY, 2),
        ["gateway", "operator", "maintenance.begin_digests"],
    ),
    "rescoring": (lambda app: rescoring(app, ANY, 1), ["maintenance.rescore"]),
    "telling": (lambda app: telling(app, "t", 1), ["maintenance.tell_applications"]),
    "canary": (lambda app: canary(app, TOPOLOGY.queues), ["maintenance.canary"]),
    "delivery": (
        lambda app: delivery(app, "n"),
        [
            *("notifications.notify_user", "notifications.notify_plainly"),
            *("notifications.try_next_channel", "db_writes.apply_verdict"),
            *("maintenance.tell_folded", "maintenance.answer_bounces"),
            *("notifications.notify_switched", "notifications.record_digest"),
        ],
    ),
}


@pytest.fixture(scope="module")
def app() -> Celery:
    return Celery(set_as_current=False)


@pytest.mark.parametrize("name", CANVASES)
def test_every_step_may_send_what_follows_it(app: Celery, name: str) -> None:
    """What comes next, its callbacks, and those of what will not run when it fails."""
    make, starters = CANVASES[name]
    sent = {(task, queue) for task, (_, queue) in _edges(make(app), set(), set())}
    sent |= {(who, queue) for who in starters for _, queue in _heads(make(app))}

    assert {(who, queue) for who, queue in sent if queue not in _allowed(who)} == set()


def test_every_pool_may_send_what_follows_a_probe() -> None:
    """The canary goes through each, and whichever probe ends last has it return."""
    returns = TOPOLOGY.route("maintenance.canary_returned").queue

    assert [it for it in TOPOLOGY.pools if returns not in TOPOLOGY.sends_of(it)] == []


@pytest.mark.parametrize(
    "who",
    [
        *("maintenance.switch_users", "notifications.notify_switched"),
        "notifications.try_next_channel",
    ],
)
def test_an_incidents_notices_may_wait_where_they_are_to(who: str) -> None:
    """Whoever sends one may send to each queue that can be asked for, of which there is more than one."""
    queues = set(notice_queues(TOPOLOGY))

    assert len(queues) > 1
    assert queues <= set(_allowed(who))


def test_every_canvas_is_looked_at() -> None:
    """A module that was added to services/canvas has its line here."""
    folder = Path(__file__).resolve().parents[2] / "services/canvas"
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}

    assert CANVASES.keys() == modules


def _allowed(who: str) -> tuple[str, ...]:
    return TOPOLOGY.users[who].sends if who in TOPOLOGY.users else TOPOLOGY.route(who).sends


def _edges(sig: Signature, after: set[Place], errors: set[Place]) -> Iterator[tuple[str, Place]]:
    """Each task of a canvas with each that it may have to send; after, errors: what follows the canvas itself."""
    errors = errors | _linked([sig], "link_error")
    if isinstance(sig, _chain):
        yield from _edges_of_chain(list(sig.tasks), after, errors)
    elif isinstance(sig, group):
        for member in sig.tasks:
            yield from _edges(member, after, errors)
    elif isinstance(sig, _chord):
        # Who fails for good in the header has the body's error callbacks sent.
        of_body = _linked([sig.body], "link_error")
        header = sig.tasks.tasks if isinstance(sig.tasks, group) else sig.tasks
        for member in header:
            yield from _edges(member, set(_heads(sig.body)), errors | of_body)
        yield from _edges(sig.body, after, errors)
    else:
        for follower in after | errors | _linked([sig], "link"):
            yield _name(sig), follower


def _edges_of_chain(
    steps: list[Signature], after: set[Place], errors: set[Place]
) -> Iterator[tuple[str, Place]]:
    for number, step in enumerate(steps):
        behind = steps[number + 1 : number + 2]
        following = set(_heads(behind[0])) if behind else after
        # A group with a step behind it is a chord.
        more = _linked(behind, "link_error") if isinstance(step, group) else set()
        yield from _edges(step, following, errors | more)


def _heads(sig: Signature) -> Iterator[Place]:
    """What is sent for a canvas at first."""
    if isinstance(sig, _chain):
        yield from _heads(sig.tasks[0])
    elif isinstance(sig, group | _chord):
        tasks = sig.tasks.tasks if isinstance(sig.tasks, group) else sig.tasks
        for member in tasks:
            yield from _heads(member)
    else:
        yield _name(sig), sig.options.get("queue") or TOPOLOGY.route(_name(sig)).queue


def _name(sig: Signature) -> str:
    """A map is sent where its task is, and sends what that does."""
    mapped = sig.kwargs.get("task") if sig.task in ("celery.map", "celery.starmap") else None
    return str(mapped["task"] if mapped else sig.task)


def _linked(signatures: Iterable[Signature], option: str) -> set[Place]:
    return {
        place for sig in signatures for it in sig.options.get(option) or () for place in _heads(it)
    }
