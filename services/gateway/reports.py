"""What an application may report: a login's fields, their limits, and why each is refused."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import ErrorDetails

from services.domain.model import Login, LoginKind

MAX_KEY_LENGTH = 200
MAX_USER_AGENT = 2_048
MAX_BATCH = 1_000
MAX_AHEAD = timedelta(minutes=5)
"""How far an application's clock may run ahead of ours."""
MAX_AGE = timedelta(days=365)
"""Older logins are history, not news: nobody is to be warned about them."""
MAX_HISTORY_AGE = timedelta(days=3653)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNFIT = re.compile(rf"{_CONTROL.pattern}|[\ud800-\udfff]")
# Only what a mail can be sent to: one plain address, no quoted name, no address literal, and no
# encoded word (=?...?=), which mail programs would read as something else.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
_LABEL = r"(?!-)[A-Za-z0-9\x80-\U0010ffff-]{1,63}(?<!-)"
_EMAIL = re.compile(
    rf"(?=.{{1,64}}@)(?!.*=\?)(?:{_ATOM})(?:\.{_ATOM})*@(?:{_LABEL}\.)+(?!\d+\Z){_LABEL}"
)
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*")
_DOT_SEGMENTS = (".", "..")
"""Whoever makes an address takes these out of it, also where they are escaped (RFC 3986, 5.2.4; URL Standard)."""
_REPORTED_ERRORS = 20
_EXAMPLE: dict[str, Any] = {
    "event_id": "5b2c7e1a-login",
    "user_id": "u-1042",
    "occurred_at": "2030-01-31T08:15:00Z",
    "ip": "2001:db8::17",
    "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "auth_method": "password",
    "email": "ada@example.org",
    "locale": "en-GB",
}


def refuse_control_characters(text: str) -> str:
    """PostgreSQL cannot store NUL, and a line break must never reach a mail's header."""
    if found := _CONTROL.search(text):
        raise ValueError(f"must not contain the control character U+{ord(found[0]):04X}")
    return text


def _has_an_address(value: str) -> str:
    if value in _DOT_SEGMENTS:
        raise ValueError(
            "must not be . or .., which no address can name: the user's switches could not be read"
        )
    return value


def _as_time(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError("must be a string like 2030-01-31T08:15:00Z")  # noqa: TRY004  pydantic reports ValueError only
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("is not an ISO 8601 time like 2030-01-31T08:15:00Z") from None


def _is_plausible(value: datetime, info: ValidationInfo) -> datetime:
    now = (info.context or {}).get("now") or datetime.now(UTC)
    try:
        value = value.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside the calendar") from None
    if value > now + MAX_AHEAD:
        raise ValueError("lies more than 5 minutes in the future: check the clock of the sender")
    if value < now - MAX_HISTORY_AGE:
        raise ValueError("is more than 10 years old")
    if value < now - MAX_AGE and not info.data.get("history"):
        raise ValueError("is more than 365 days old: report history as such")
    return value


def _as_address(value: str) -> str:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise ValueError("is not an IPv4 or IPv6 address") from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError("must not carry a zone (the part from the % on)")
        # A dual-stack server reports IPv4 peers so; one user must not look like two.
        return str(address.ipv4_mapped or address)
    return str(address)


def _as_mail_address(value: str) -> str:
    if not (_EMAIL.fullmatch(value) and value.isprintable()):
        raise ValueError("is not a mail address like ada@example.org")
    return value


def _as_user_agent(value: object) -> object:
    """The visitor's to choose as well: what cannot be stored is taken out, and what is absurdly long ends."""
    return _UNFIT.sub(" ", value)[:MAX_USER_AGENT] if isinstance(value, str) else value


def _as_cookie(value: object) -> object:
    """What the device sent is the visitor's to choose: nothing in it may keep a login from being reported."""
    if isinstance(value, str) and not (0 < len(value) <= 512 and value.isprintable()):
        return None
    return value


def _as_language(value: str) -> str:
    # What a browser sends has several, and their weights.
    if not _LANGUAGE.fullmatch(value):
        raise ValueError("is not one language like de or en-GB")
    return value


def _as_time_zone(value: str) -> str:
    if value not in _time_zones():
        raise ValueError("is not the name of a time zone like Europe/Berlin")
    return value


@cache
def _time_zones() -> set[str]:
    return available_timezones()


_CLEAN = AfterValidator(refuse_control_characters)
Identifier = Annotated[str, Field(strict=True, min_length=1, max_length=MAX_KEY_LENGTH), _CLEAN]
_UserId = Annotated[
    Identifier,
    AfterValidator(_has_an_address),
    Field(json_schema_extra={"not": {"enum": list(_DOT_SEGMENTS)}}),
]
Time = Annotated[AwareDatetime, BeforeValidator(_as_time)]
_Time = Annotated[Time, AfterValidator(_is_plausible)]
_Address = Annotated[str, Field(strict=True, max_length=100), _CLEAN, AfterValidator(_as_address)]
_UserAgent = Annotated[str, Field(strict=True), BeforeValidator(_as_user_agent)]
_Cookie = Annotated[str | None, Field(strict=True), BeforeValidator(_as_cookie)]
_Method = Annotated[str, Field(strict=True, min_length=1, max_length=50), _CLEAN]
_Email = Annotated[
    str, Field(strict=True, max_length=254), _CLEAN, AfterValidator(_as_mail_address)
]
_Locale = Annotated[
    str,
    Field(strict=True, max_length=35, json_schema_extra={"pattern": f"^{_LANGUAGE.pattern}$"}),
    AfterValidator(_as_language),
]

_TimeZone = Annotated[str, Field(strict=True, max_length=50), AfterValidator(_as_time_zone)]


class LoginReport(BaseModel):
    """One successful sign-in."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, title="Login", json_schema_extra={"example": _EXAMPLE}
    )

    event_id: Identifier | None = Field(
        None,
        description="The application's id of this login. Reported again with the same body, it"
        " gives the same workflow back. May be left out when Idempotency-Key is sent, which then is"
        " the key in its place.",
    )
    user_id: _UserId = Field(
        description="The application's id of the user; neither . nor .., which no address can name."
    )
    # Before the time, whose bounds depend on it.
    history: Annotated[bool, Field(strict=True)] = Field(
        False,
        description="The login is from before Doorbell watched: devices and the outlier API learn from"
        " it, nobody is told, and nothing is done about its verdict.",
    )
    occurred_at: _Time = Field(
        description="ISO 8601 with a time zone; at most 5 minutes ahead and 365 days old, of `history` 10 years.",
        json_schema_extra={"format": "date-time"},
    )
    ip: _Address = Field(description="The IPv4 or IPv6 address that the user signed in from.")
    user_agent: _UserAgent = Field(
        description="The User-Agent header as received; empty when there was none. What follows the"
        f" first {MAX_USER_AGENT:,} characters is left out, control characters count as spaces."
    )
    device_cookie: _Cookie = Field(
        None,
        description="What an earlier answer's Doorbell-Device-Cookie gave for this device to keep."
        " A value that we have not signed counts as none.",
    )
    auth_method: _Method | None = Field(
        None, description="How the user proved who they are, such as password or passkey."
    )
    email: _Email | None = Field(
        None,
        description="Where the user is told of a new device: a plain address, not a quoted name.",
        json_schema_extra={"format": "email"},
    )
    other_email: _Email | None = Field(
        None,
        description="Another address of the user's, such as the one for recovery: told when `email` is not reached,"
        " and of a login that does not look like the user also beside it.",
        json_schema_extra={"format": "email"},
    )
    locale: _Locale | None = Field(
        None, description="The language to write in, such as de or en-GB."
    )
    time_zone: _TimeZone | None = Field(
        None,
        description="The user's, such as Europe/Berlin (IANA), in which notices give the time;"
        " UTC without.",
    )
    kind: LoginKind = Field(
        "sign_in",
        description="What the user did. Of a new device the user is told after a sign_in alone:"
        " with sign_up the account began, reauthentication and second_factor follow a sign_in, and"
        " service is an account that is no person's.",
    )


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with a request. `field` is a path such as `logins.3.ip`; empty: the whole."""

    field: str
    message: str


def read_report(
    value: object, key: str | None = None, now: datetime | None = None
) -> tuple[LoginReport | None, list[FieldError]]:
    """A report from decoded JSON, or everything that is wrong with it.

    key: the Idempotency-Key that came with it, in place of an event_id.
    """
    if not isinstance(value, dict):
        return None, [FieldError("", "must be a JSON object with a login's fields")]
    try:
        report = LoginReport.model_validate(value, context={"now": now})
    except ValidationError as error:
        return None, field_errors(error)
    if key is None and report.event_id is None:
        message = "is required, or else the header Idempotency-Key: without it a login whose"
        return None, [FieldError("event_id", f"{message} answer got lost would count twice")]
    return report, []


def field_errors(error: ValidationError, of: str = "a login") -> list[FieldError]:
    """What pydantic found, in this gateway's words; the first twenty. of: whose fields they are."""
    details = error.errors(include_url=False, include_context=False)
    return [_field_error(detail, of) for detail in details[:_REPORTED_ERRORS]]


def _field_error(detail: ErrorDetails, of: str) -> FieldError:
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        message = f"is not a field of {of}: check its spelling"
    elif detail["type"] == "missing":
        message = "is required"
    elif detail["type"] == "timezone_aware":
        message = "has no time zone: write it behind the time, as in 2030-01-31T08:15:00Z"
    elif detail["type"] == "string_unicode":
        message = "contains half of a surrogate pair"
    return FieldError(".".join(str(part)[:100] for part in detail["loc"]), message)


def canonical_body(report: LoginReport) -> str:
    """A JSON object that is equal for reports that mean the same, however theirs was written; defaults are left out.

    A login that was reported when it happened is the same one when it is imported.
    """
    value = report.model_dump(mode="json", exclude_defaults=True, exclude={"history"})
    return json.dumps(value, sort_keys=True)


def digest_of(body: str) -> bytes:
    """By which a canonical body is told from others."""
    return hashlib.sha256(body.encode()).digest()


def body_sha256(report: LoginReport) -> bytes:
    """The digest of the report's canonical body."""
    return digest_of(canonical_body(report))


def as_login(report: LoginReport, workflow_id: UUID, tenant_id: str, key: str) -> Login:
    """The report as the ledger keeps it; `key` stands in for a missing event_id."""
    fields = LoginReport.model_fields.keys() - {"device_cookie"}
    values: dict[str, Any] = {name: getattr(report, name) for name in fields}
    values["event_id"] = report.event_id or key
    return Login(workflow_id=workflow_id, tenant_id=tenant_id, **values)
