"""An incident's switches are turned on for many users, who are told; and turned off again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from celery import Celery, chain, group, xmap
from celery.canvas import Signature

from services.canvas.delivery import elsewhere
from services.domain.incident import Portion

if TYPE_CHECKING:
    from routing.topology import Topology

_SWITCH_TASK = "maintenance.switch_users"
_NOTICE_TASK = "notifications.notify_switched"


def lockdown(
    app: Celery, portions: Sequence[Portion], notices_onto: str | None = None
) -> Signature:
    """Portions side by side: in each a map over slices of its users turns the switches on, then they are told.

    No portion waits for another one's mails, and none that fails keeps others from
    being told: a chord around all would. Messages carry the incident's id and
    positions in it. A portion that is to wait does so at the broker.

    notices_onto: the queue in which those who are to be told wait; None: that of all notices.
    """
    notify = elsewhere(app.signature(_NOTICE_TASK), notices_onto)

    def of(portion: Portion) -> Signature:
        switches = _mapped(app, _SWITCH_TASK, portion)
        if portion.delay_seconds:
            switches = switches.set(countdown=portion.delay_seconds)
        notices = notify.clone(args=(portion.users.to_message(),)).set(immutable=True)
        return chain(switches, notices, app=app)

    return group([of(portion) for portion in portions], app=app)


def notice_queues(topology: Topology) -> tuple[str, ...]:
    """The queues that a lockdown's notices may wait in: whose pool tells, and that who switches may send to."""
    sends = topology.route(_SWITCH_TASK).sends
    return tuple(queue for queue in sends if topology.does(queue, _NOTICE_TASK))


def undoing(app: Celery, portions: Sequence[Portion]) -> Signature:
    """Take back what the portions did, side by side; nobody is told but the application."""
    return group([_mapped(app, "maintenance.switch_back", it) for it in portions], app=app)


def _mapped(app: Celery, task: str, portion: Portion) -> Signature:
    """What `task.map(slices)` is, of a task that is known by its name alone."""
    mapped: Any = app.signature(task)
    return xmap(mapped, [users.to_message() for users in portion.slices], app=app)
