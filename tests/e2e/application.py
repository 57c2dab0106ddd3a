"""An application that reports logins to Doorbell over HTTP and looks at what becomes of them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import requests

from tests.e2e.waiting import wait_until

_ENDED = ("done", "failed", "dead")
_ANSWER_SECONDS = 10


class Application:
    """One tenant's side of the conversation."""

    def __init__(self, gateway: str, api_key: str) -> None:
        self._gateway = gateway
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {api_key}"
        self._occurred_at: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.close()

    def report(self, *, event_id: str | None = None, **login: str) -> str:
        """Report a login that happens at this moment; return its workflow's id.

        The same event_id again is the same login again, time included.
        """
        event_id = event_id or str(uuid.uuid4())
        now = datetime.now(UTC).isoformat()
        body = {
            "event_id": event_id,
            "occurred_at": self._occurred_at.setdefault(event_id, now),
            "ip": "2001:db8::17",
            **login,
        }
        answer = self._session.post(
            f"{self._gateway}/v1/logins", json=body, timeout=_ANSWER_SECONDS
        )
        assert answer.status_code == 202, answer.text
        workflow_id: str = answer.json()["workflow_id"]
        return workflow_id

    def workflow(self, workflow_id: str) -> dict[str, Any]:
        """How far a workflow is."""
        answer = self._session.get(
            f"{self._gateway}/v1/workflows/{workflow_id}", timeout=_ANSWER_SECONDS
        )
        assert answer.status_code == 200, answer.text
        workflow: dict[str, Any] = answer.json()
        return workflow

    def wait_for_end(self, workflow_id: str, seconds: float = 60) -> dict[str, Any]:
        """Return the workflow once it is done, failed or dead."""
        wait_until(
            lambda: self.workflow(workflow_id)["state"] in _ENDED,
            seconds,
            f"workflow {workflow_id}",
        )
        return self.workflow(workflow_id)

    def is_locked(self, user_id: str) -> bool:
        """Whether the application is to let nobody in under this name."""
        answer = self._session.get(
            f"{self._gateway}/v1/users/{user_id}/switches", timeout=_ANSWER_SECONDS
        )
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["switches"]["locked"]["is_on"])
