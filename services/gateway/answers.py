"""What the gateway answers: the shapes of its JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from services.gateway.problems import ProblemDocument

WorkflowState = Literal["accepted", "running", "done", "failed", "dead"]
_WORKFLOW_ID = "0c6f1c3e-6f0f-4c53-9a1e-2f5a4f0e7b11"
_STEP: dict[str, Any] = {
    "id": "3d1f9a0e-0b62-4f0b-8f0c-6a8a1b1d2c3e",
    "task": "device_checks.check_device",
    "queue": "device_checks",
    "state": "done",
    "reason": None,
    "planned": True,
    "after": [],
    "parent": None,
    "children": ["7c2e4b1d-55a0-4a39-9a55-3f0b3a1c9d10"],
    "group": None,
    "group_size": None,
    "group_index": None,
    "role": None,
    "callbacks": [],
    "maps": None,
    "items": None,
    "attempts": 1,
    "retries": 0,
    "redeliveries": 0,
    "ready_at": "2030-01-31T08:15:00.098Z",
    "started_at": "2030-01-31T08:15:00.104Z",
    "finished_at": "2030-01-31T08:15:00.109Z",
    "waiting_seconds": 0.006,
    "run_seconds": 0.005,
    "host": "worker-1",
}


class Accepted(BaseModel):
    """The login is kept, and its workflow runs; asked again, the state is how far it is."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "event_id": "5b2c7e1a-login",
                "workflow_id": _WORKFLOW_ID,
                "state": "accepted",
            }
        }
    )

    event_id: str
    workflow_id: UUID
    state: WorkflowState


class BatchResult(BaseModel):
    """The answer to one login of a batch: what it would have been answered alone."""

    status: int = Field(description="202, or the status of the problem.")
    event_id: str | None = None
    workflow_id: UUID | None = None
    state: WorkflowState | None = None
    problem: ProblemDocument | None = None


class BatchAnswer(BaseModel):
    """One result for each login, in the order of the request."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "results": [
                    {
                        "status": 202,
                        "event_id": "5b2c7e1a-login",
                        "workflow_id": _WORKFLOW_ID,
                        "state": "accepted",
                    },
                    {
                        "status": 422,
                        "event_id": "5b2c7e1b-login",
                        "problem": {
                            "type": "about:blank",
                            "title": "Unprocessable Entity",
                            "status": 422,
                            "detail": "the login is not valid",
                            "errors": [
                                {"field": "ip", "message": "is not an IPv4 or IPv6 address"}
                            ],
                        },
                    },
                ]
            }
        }
    )

    results: list[BatchResult]


class Callback(BaseModel):
    """What follows a step's end, beside what the plan has behind it."""

    kind: Literal["link", "link_error", "body"] = Field(
        description="After success, after failure, or when all steps that a chord's body waits for are done."
    )
    task: str | None
    step: str | None = Field(description="Its step's id; null while it has none.")
    state: Literal["waiting", "fired", "will_not_fire"]


class Step(BaseModel):
    """One task of a workflow: how it was planned, and how it went. What it answered is not told here."""

    id: str = Field(description="Also its Celery task id.")
    task: str | None
    queue: str | None
    state: Literal["planned", "ready", "retrying", "parked", "done", "failed", "dead", "blocked"]
    reason: str | None = Field(description="Why it was given up; null: it was not.")
    planned: bool = Field(
        description="Whether it is of the plan; else it appeared, as callbacks do."
    )
    after: list[str] = Field(description="The planned steps that it waits for.")
    parent: str | None = Field(description="The step that has sent it, or is to.")
    children: list[str] = Field(description="The steps whose parent it is.")
    group: str | None = Field(
        description="The same for all steps that run side by side as one group."
    )
    group_size: int | None
    group_index: int | None = Field(
        description="Its place in the group, from 0, where that is known."
    )
    role: Literal["link", "link_error", "body", "replacement"] | None = Field(
        description="What it is to its parent: a callback, or in the place of what stood there; `body`: of a chord."
    )
    callbacks: list[Callback] = Field(
        description="Callbacks of its own, and the bodies that wait for it. Error callbacks of a planned step that"
        " nothing needed are known only until it is done."
    )
    maps: str | None = Field(description="Of `celery.map` and `celery.starmap`: the task.")
    items: int | None = Field(description="How often `maps` is done.")
    attempts: int = Field(description="How often a worker has begun it.")
    retries: int
    redeliveries: int = Field(
        description="How often it was begun again because its worker had gone."
    )
    ready_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    waiting_seconds: float | None = Field(description="From ready to the last start.")
    run_seconds: float | None = Field(description="From the last start to the end.")
    host: str | None


class VerdictAnswer(BaseModel):
    """What the outlier API said; level unscored when it gave no usable answer."""

    level: Literal["low", "medium", "high", "unscored"]
    action: Literal["allow", "challenge", "deny"]
    score: float | None
    reasons: list[str]
    model_version: str | None
    request_id: str
    stored_at: datetime
    late: bool = Field(description="It came after the login had been kept without one.")


class Workflow(BaseModel):
    """All the work that one login causes, and how far it is."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "workflow_id": _WORKFLOW_ID,
                "name": "login",
                "state": "running",
                "user_id": "u-1042",
                "event_id": "5b2c7e1a-login",
                "accepted_at": "2030-01-31T08:15:00.098Z",
                "finished_at": None,
                "steps": [_STEP],
                "verdict": None,
            }
        }
    )

    workflow_id: UUID
    name: str
    state: WorkflowState
    user_id: str | None
    event_id: str | None
    accepted_at: datetime
    finished_at: datetime | None
    steps: list[Step]
    verdict: VerdictAnswer | None


class WorkflowPage(BaseModel):
    """Workflows, the youngest first."""

    workflows: list[Workflow]
    next_cursor: str | None = Field(description="Send it as `cursor`; null: the last page.")


class ExportBegun(BaseModel):
    """The user's data is being collected; /v1/exports/{workflow_id} has the archive once the workflow is done."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"workflow_id": _WORKFLOW_ID, "state": "accepted"}}
    )

    workflow_id: UUID
    state: Literal["accepted"]


class DigestBegun(BaseModel):
    """The user is told of the day's sign-ins by the workflow's last step; an older one may have ended."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"workflow_id": _WORKFLOW_ID, "state": "accepted"}}
    )

    workflow_id: UUID
    state: Literal["accepted"]


class Import(BaseModel):
    """How far an import is. Its workflow, which has its id, says more.

    accepted, known: of the logins that were put in, those that count now, and those that were reported before.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "import_id": _WORKFLOW_ID,
                "state": "running",
                "line": 250_000,
                "staged": 249_000,
                "skipped": 990,
                "refused": 10,
                "accepted": 100_000,
                "known": 0,
                "unlearned": 2_000,
            }
        }
    )

    import_id: UUID
    state: Literal["uploading", "accepted", "running", "done", "failed", "dead"]
    line: int = Field(description="Up to this one it was put in.")
    staged: int = Field(description="Logins that were put in.")
    skipped: int
    refused: int
    accepted: int
    known: int
    unlearned: int = Field(description="Accepted ones that the outlier API has not learned yet.")


class RefusedLine(BaseModel):
    """A line that was not put in, and why."""

    line: int
    event_id: str | None
    reason: str


class Portioned(BaseModel):
    """Up to which line the import was put in, and what of it was not."""

    line: int
    refused: list[RefusedLine]


class Device(BaseModel):
    """One device that the user signed in from."""

    device_id: UUID
    description: str
    first_seen_at: datetime
    last_seen_at: datetime


class DeviceList(BaseModel):
    """The user's devices, the last seen first; at most 1,000. Empty for a user never reported."""

    user_id: str
    devices: list[Device]


class Switch(BaseModel):
    """A flag that the application obeys. changed_at is null while it was never flipped."""

    is_on: bool
    changed_at: datetime | None
    expires_at: datetime | None = Field(description="When it goes off by itself; null: never.")


class Switches(BaseModel):
    """Both switches; off for a user never reported."""

    require_step_up: Switch = Field(description="Ask for a second factor at the next sign-in.")
    locked: Switch = Field(description="Refuse sign-ins until somebody has looked at it.")


class SwitchList(BaseModel):
    """The user's switches."""

    user_id: str
    switches: Switches


class Health(BaseModel):
    """The process is alive."""

    status: Literal["alive"]


class Readiness(BaseModel):
    """Logins can be accepted. The broker is not needed for that: they wait in the ledger."""

    status: Literal["ready"]
    database: Literal["reachable"]
    broker: Literal["unknown", "reachable", "unreachable"] = Field(
        description="Whether it confirmed the last messages that it was sent. One with an alarm (memory, disk)"
        " takes none, and is unreachable here too."
    )
    outbox_messages: int
