"""The values that Doorbell is about; nothing here knows where they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

Channel = Literal["email", "other_email", "webhook"]
Level = Literal["low", "medium", "high", "unscored"]
Action = Literal["allow", "challenge", "deny"]
SwitchName = Literal["require_step_up", "locked"]
LoginKind = Literal["sign_in", "sign_up", "reauthentication", "second_factor", "service"]
"""sign_up: with it the account began. reauthentication, second_factor: of somebody who had signed in already.
service: of an account that is no person's.
"""
SIGNS_IN: frozenset[LoginKind] = frozenset({"sign_in", "sign_up", "service"})
"""After one of these on a device, its user was told of it or had no need to be."""


@dataclass(frozen=True, slots=True)
class Login:
    """One successful sign-in, as an application reported it.

    cookie_id: the workflow in whose answer the device was given its cookie; None
    without a cookie of ours. history: it is learned from; nobody is told, and nothing is done.
    """

    workflow_id: UUID
    tenant_id: str
    event_id: str
    user_id: str
    occurred_at: datetime
    ip: str
    user_agent: str
    cookie_id: UUID | None = None
    auth_method: str | None = None
    email: str | None = None
    other_email: str | None = None
    locale: str | None = None
    time_zone: str | None = None
    kind: LoginKind = "sign_in"
    history: bool = False


@dataclass(frozen=True, slots=True)
class DeviceCheck:
    """What looking the device up found; the result of `device_checks.check_device`.

    is_new: this login is the first on this device.
    is_first: the user had no device at all before.
    """

    workflow_id: UUID
    device_id: UUID
    is_new: bool
    is_first: bool

    def to_message(self) -> dict[str, Any]:
        return {
            "workflow_id": str(self.workflow_id),
            "device_id": str(self.device_id),
            "is_new": self.is_new,
            "is_first": self.is_first,
        }

    @classmethod
    def from_message(cls, value: Mapping[str, Any]) -> Self:
        return cls(
            UUID(value["workflow_id"]),
            UUID(value["device_id"]),
            bool(value["is_new"]),
            bool(value["is_first"]),
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came back from the outlier API; `unscored` when nothing usable did (fail open)."""

    workflow_id: UUID
    level: Level
    action: Action
    score: float | None
    reasons: tuple[str, ...]
    model_version: str | None
    request_id: str

    def to_message(self) -> dict[str, Any]:
        return {
            "workflow_id": str(self.workflow_id),
            "level": self.level,
            "action": self.action,
            "score": self.score,
            "reasons": list(self.reasons),
            "model_version": self.model_version,
            "request_id": self.request_id,
        }

    @classmethod
    def from_message(cls, value: Mapping[str, Any]) -> Self:
        return cls(
            UUID(value["workflow_id"]),
            value["level"],
            value["action"],
            value["score"],
            tuple(value["reasons"]),
            value["model_version"],
            value["request_id"],
        )
