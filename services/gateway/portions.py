"""What whoever imports logins sends."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from services.gateway.reports import MAX_BATCH, MAX_KEY_LENGTH

_LAST_LINE = 2**53
_Line = Annotated[int, Field(strict=True, ge=0, le=_LAST_LINE)]


class ImportKey(BaseModel):
    """By which an import is found again."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(
        strict=True,
        pattern=rf"^[A-Za-z0-9_.:-]{{1,{MAX_KEY_LENGTH}}}$",
        description="Such as the digest of the file: who comes again with it goes on with the same import.",
        examples=["sha256:9f86d081884c7d65"],
    )


class Numbered(BaseModel):
    """One line's login."""

    model_config = ConfigDict(extra="forbid")

    line: _Line
    login: dict[str, Any] = Field(description="As POST /v1/logins takes it, with its event_id.")


class ImportPortion(BaseModel):
    """The lines behind one (`after`) up to another (`line`); the numbers are of the sender's choice, and rise."""

    model_config = ConfigDict(extra="forbid")

    after: _Line
    line: _Line
    skipped: _Line = Field(0, description="Lines among them that are not to be learned from.")
    unreadable: _Line = Field(0, description="Lines among them that are no login.")
    logins: list[Numbered] = Field(max_length=MAX_BATCH)
