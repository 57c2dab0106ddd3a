"""What the outlier API takes and answers; a replacement behind OUTLIER_API_URL keeps to it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)

BATCH_LIMIT = 100
"""Requests in one batch; the model is busy for under half a second with them."""


LEARN_LIMIT = 250
"""Requests in one batch that is learned only: as long as a few dozen that are judged."""


@lru_cache(maxsize=4096)
def _canonical_network(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError as error:
        raise ValueError(f"{error}; send the network, such as 203.0.113.0/24") from None


def _without_nul(value: str) -> str:
    if "\x00" in value:
        raise ValueError("contains a NUL character; send text without it")
    return value


def _written_as_time(value: object) -> object:
    """Refuse numbers, which pydantic would take for seconds since 1970."""
    if isinstance(value, datetime) or (isinstance(value, str) and value[10:11] in ("T", "t")):
        return value
    raise ValueError("must be a time such as 2026-03-01T09:30:00Z")


Token = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_without_nul)]
"""An opaque id: compared, stored, never interpreted."""

Fact = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_without_nul)]
"""One observed value; two logins share it when the texts are equal."""


_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
"""Nobody signed in before, and what lies outside cannot be computed with in every zone."""

Time = Annotated[
    AwareDatetime,
    Field(strict=False, ge=_EARLIEST, lt=_LATEST),
    BeforeValidator(_written_as_time),
]


class _Strict(BaseModel):
    """Unknown fields and values of another type are refused, so that a typing error is seen."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class UserAgent(_Strict):
    """What the user agent says, from fine to coarse. What is not known is left out.

    `digest` is the finest level: the whole user agent string or, better, a hash of it.
    """

    digest: Fact | None = Field(default=None, examples=["9b74c9897bac770f"])
    browser: Fact | None = Field(default=None, examples=["Firefox 143"])
    os: Fact | None = Field(default=None, examples=["Windows 10"])
    device: Fact | None = Field(default=None, examples=["desktop"])


class ScoreRequest(_Strict):
    """One successful login, in facts. What is left out has no say in the score.

    `request_id` names the login: it is learned once, however often it is sent.
    `user_id` must mean the same person each time; it may be a pseudonym.
    """

    request_id: Token = Field(examples=["0a3f7e52-6a52-4a37-9c43-35c0f1a0c001"])
    tenant_id: Token = Field(default="default", examples=["shop"])
    user_id: Token = Field(examples=["u-1001"])
    occurred_at: Time = Field(
        description="RFC 3339 with an offset.", examples=["2026-03-01T09:30:00Z"]
    )
    ip_network: Annotated[str, AfterValidator(_canonical_network)] | None = Field(
        default=None,
        description="Network of the address (/24 or /48, say): the whole address is not needed.",
        examples=["203.0.113.0/24"],
    )
    asn: int | None = Field(
        default=None, ge=0, le=4294967295, description="Autonomous system.", examples=[64500]
    )
    country: str | None = Field(
        default=None, pattern="^[A-Z]{2}$", description="ISO 3166-1 alpha-2.", examples=["DE"]
    )
    user_agent: UserAgent = Field(default_factory=UserAgent)
    device_known: bool = Field(description="The user signed in from this device before.")
    auth_method: Fact | None = Field(
        default=None, description="The reference does not score it.", examples=["password"]
    )


class ScoreAnswer(_Strict):
    """What the API thinks of one login.

    `score` is a ratio without an upper end: above 1 the login looks more like an
    attack than like the user. It is null when there is nothing to compare with (the
    user's first login); `level` is then `low`.
    """

    request_id: Token = Field(examples=["0a3f7e52-6a52-4a37-9c43-35c0f1a0c001"])
    score: float | None = Field(ge=0, allow_inf_nan=False, examples=[0.0417])
    level: Literal["low", "medium", "high"] = Field(examples=["low"])
    action: Literal["allow", "challenge", "deny"] = Field(examples=["allow"])
    reasons: tuple[str, ...] = Field(strict=False, examples=[["new_ip_network"]])
    model_version: str = Field(min_length=1, examples=["freeman-2016.1"])


class ScoreBatch(_Strict):
    """Several logins, judged and learned in the order given; all of them or none."""

    requests: tuple[ScoreRequest, ...] = Field(strict=False, min_length=1, max_length=BATCH_LIMIT)


class ScoreBatchAnswer(_Strict):
    """One answer for each request, in the same order."""

    answers: tuple[ScoreAnswer, ...] = Field(strict=False)


class LearnBatch(_Strict):
    """Logins of before, learned in the order given; all of them or none. Optional: who does not offer it answers 404.

    What is learned is what `score` would learn of them; nobody is told what they look like.
    """

    requests: tuple[ScoreRequest, ...] = Field(strict=False, min_length=1, max_length=LEARN_LIMIT)


class LearnAnswer(_Strict):
    """How many of the logins were learned: not those that were before, nor those that look like an attack."""

    learned: int = Field(ge=0, examples=[250])


class ForgetRequest(_Strict):
    """Whose logins are to be forgotten. Optional: who does not offer it answers 404."""

    tenant_id: Token = Field(default="default", examples=["shop"])
    user_id: Token = Field(examples=["u-1001"])


class ForgetAnswer(_Strict):
    """Of how many logins the history has less now; asked again, 0."""

    logins: int = Field(ge=0, examples=[12])


class ExportRequest(_Strict):
    """Of whom it is to be said what was learned. Optional: who does not offer it answers 404."""

    tenant_id: Token = Field(default="default", examples=["shop"])
    user_id: Token = Field(examples=["u-1001"])


class LearnedFact(_Strict):
    """How many of a user's logins of a month had one value."""

    month: str = Field(examples=["2026-03"])
    level: str = Field(examples=["country"])
    value: str = Field(examples=["DE"])
    logins: int = Field(ge=0, examples=[12])


class ExportAnswer(_Strict):
    """All that was learned of one user; of a user who is not known, nothing."""

    logins: int = Field(ge=0, examples=[12])
    facts: tuple[LearnedFact, ...] = Field(strict=False)


class Problem(BaseModel):
    """An RFC 9457 problem document; `errors` names each wrong field by a JSON pointer."""

    type: str = "about:blank"
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["1 field is wrong: /country: String should match '^[A-Z]{2}$'"])
    errors: list[dict[str, str]] = Field(default_factory=list)
