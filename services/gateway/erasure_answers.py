"""What the API answers about erasures."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

_ERASURE_ID = "0c6f1c3e-6f0f-4c53-9a1e-2f5a4f0e7b11"


class ErasureBegun(BaseModel):
    """What is kept about the user is being deleted; /v1/erasures/{erasure_id} has the certificate once that is done."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "erasure_id": _ERASURE_ID,
                "workflow_id": _ERASURE_ID,
                "state": "accepted",
            }
        }
    )

    erasure_id: UUID
    workflow_id: UUID = Field(description="The same: its steps are shown as any workflow's.")
    state: Literal["accepted"]


class CertifiedPlace(BaseModel):
    """A table of the database."""

    place: str
    deleted: int = Field(description="Rows about the user that were deleted.")
    left: int = Field(description="Rows about the user that were found afterwards.")


class CertifiedLetters(BaseModel):
    """Messages of the user's logins that had been given up."""

    deleted: int
    left: int


class Certificate(BaseModel):
    """What was deleted, and that nothing was found afterwards. Times are as they were signed."""

    erasure_id: str
    tenant: str
    pseudonym: str = Field(
        description="The user's name in monitors; without the tenant's key it leads to nobody."
    )
    asked_at: str
    asked_by: str | None
    erased_at: str = Field(description="When the rows were deleted.")
    forgotten_at: str = Field(description="When the outlier API answered.")
    certified_at: str
    places: list[CertifiedPlace]
    dead_letters: CertifiedLetters
    outlier_api: str = Field(description="What the outlier API answered when it was to forget.")
    outlier_api_left: int | None = Field(
        description="Logins that it still had when it was asked again; null: it does not offer to forget."
    )
    signature: str = Field(description="`doorbell users certificate` verifies it.")


class Erasure(BaseModel):
    """How far an erasure is. `superseded`: it was asked for again, and the later one does it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "erasure_id": _ERASURE_ID,
                "state": "running",
                "asked_at": "2030-01-31T08:15:00.098Z",
                "certificate": None,
            }
        }
    )

    erasure_id: UUID
    state: Literal["accepted", "running", "done", "failed", "dead", "superseded"]
    asked_at: datetime
    certificate: Certificate | None
