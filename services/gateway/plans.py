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

    lockdown: by the queue in which its notices wait, one of notice_queues; None: where all do.
    """

    login: MakePlan
    export: MakePlan
    erasure: MakePlan
    lockdown: Callable[[str | None], PlanPortions]
    undo: PlanPortions
    digest: PlanDigest
    importing: Callable[[UUID, str, Sequence[Partition]], Plan]
    notice_queues: Sequence[str]

    @property
    def login_queues(self) -> Sequence[str]:
        """Where a login begins."""
        return sorted({message.queue for message in self.login(uuid4(), "").messages})


def plans(app: Celery, topology: Topology) -> Plans:
    """Those of the product's canvases."""

    def lockdown_onto(queue: str | None) -> PlanPortions:
        return lambda portions, label: plan(app, lockdown(app, portions, queue), label)

    return Plans(
        login=PlanTemplate(app, partial(login_workflow, app)).plan,
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
