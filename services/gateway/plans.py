"""Which workflows can begin at the gateway."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID, uuid4

from celery import Celery

from routing.topology import Topology
from services.canvas.digesting import digesting
from services.canvas.erasing import erasing
from services.canvas.exporting import exporting
from services.canvas.importing import importing
from services.canvas.lockdown import lockdown, notice_queues, undoing
from services.canvas.login import login_workflow
from services.domain.slices import Partition
from services.incidents import PlanPortions
from services.ledger.plan_template import PlanTemplate
from services.ledger.planning import Plan, plan
from services.user_digests import PlanDigest

MakePlan = Callable[[UUID, str], Plan]
"""The planned steps of a workflow, by its id and the label of its steps."""


@dataclass(frozen=True, slots=True)
class Plans:
    """How each kind of workflow is planned.

    first_queues: in which a login begins. paced_by: in which as much may wait for its pools as they do in some seconds.
    lockdown: by the queue in which its notices wait, one of notice_queues; None: where all do.
    """

    first_queues: Sequence[str]
    paced_by: Sequence[str]
    login: MakePlan
    export: MakePlan
    erasure: MakePlan
    lockdown: Callable[[str | None], PlanPortions]
    undo: PlanPortions
    digest: PlanDigest
    importing: Callable[[UUID, str, Sequence[Partition]], Plan]
    notice_queues: Sequence[str]


def plans(app: Celery, topology: Topology) -> Plans:
    """Those of the product's canvases."""
    login = PlanTemplate(app, partial(login_workflow, app)).plan
    sample = login(uuid4(), "")

    def lockdown_onto(queue: str | None) -> PlanPortions:
        return lambda portions, label: plan(app, lockdown(app, portions, queue), label)

    return Plans(
        first_queues=sorted({message.queue for message in sample.messages}),
        # Whom the others wait for, such as the outlier API, must not hold up what does not need them.
        paced_by=sorted({step.queue for step in sample.steps if _is_batch(topology, step.queue)}),
        login=login,
        export=lambda workflow_id, label: plan(app, exporting(app, workflow_id), label),
        importing=lambda import_id, label, partitions: plan(
            app, importing(app, import_id, partitions), label
        ),
        erasure=lambda erasure_id, label: plan(app, erasing(app, erasure_id), label),
        lockdown=lockdown_onto,
        undo=lambda portions, label: plan(app, undoing(app, portions), label),
        digest=lambda workflow_id, devices, label: plan(
            app, digesting(app, workflow_id, devices), label
        ),
        notice_queues=notice_queues(topology),
    )


def _is_batch(topology: Topology, queue: str) -> bool:
    return topology.pool(topology.queues[queue].pool).style == "batch"
