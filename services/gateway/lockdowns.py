"""What an application may ask for in an incident: its fields, their limits, and why each is refused."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from services.domain.model import SwitchName
from services.domain.network import LARGEST_ASN
from services.gateway.reports import (
    FieldError,
    Identifier,
    Time,
    field_errors,
    refuse_control_characters,
)
from services.incidents import LONGEST_REASON, LONGEST_SECONDS, Lockdown, Unfit

MOST_USERS = 10_000
"""So many can be named in one request."""
_EXAMPLE: dict[str, Any] = {
    "switch": "locked",
    "network": "198.51.100.0/24",
    "since": "2030-01-31T08:00:00Z",
    "reason": "stolen passwords tried from there",
    "dry_run": True,
}


def _as_network(value: object) -> IPv4Network | IPv6Network:
    if not isinstance(value, str) or len(value) > 100 or "%" in value:
        raise ValueError("must be a string like 203.0.113.0/24")
    try:
        return ip_network(value)
    except ValueError as error:
        raise ValueError(f"is no network like 203.0.113.0/24: {error}") from None


def _as_reason(value: str) -> str:
    return refuse_control_characters(value)


_Network = Annotated[
    Any,
    BeforeValidator(_as_network),
    Field(json_schema_extra={"type": "string", "maxLength": 100}),
]


class LockdownReport(BaseModel):
    """A switch to be turned on for many users: either `users`, or `since` with `network`, `asn`, `country`."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, title="Lockdown", json_schema_extra={"example": _EXAMPLE}
    )

    switch: SwitchName
    users: list[Identifier] | None = Field(
        None, min_length=1, max_length=MOST_USERS, description="The application's ids of the users."
    )
    network: _Network | None = Field(
        None, description="Those who signed in from this network (CIDR) ..."
    )
    asn: Annotated[int, Field(strict=True, ge=1, le=LARGEST_ASN)] | None = Field(
        None, description="... from the provider with this number (autonomous system) ..."
    )
    country: Annotated[str, Field(strict=True, pattern="^[A-Z]{2}$")] | None = Field(
        None, description="... from this country, two letters (ISO 3166-1) ..."
    )
    since: Time | None = Field(
        None,
        description="... from then on: ISO 8601 with a time zone.",
        json_schema_extra={"format": "date-time"},
    )
    reason: Annotated[
        str, Field(strict=True, min_length=1, max_length=LONGEST_REASON), AfterValidator(_as_reason)
    ] = Field("incident", description="Why, for the audit trail.")
    users_per_second: Annotated[float, Field(strict=True, ge=1, le=1_000_000)] | None = Field(
        None, description="For so many users a second; without, as fast as it goes."
    )
    expire_seconds: Annotated[int, Field(strict=True, ge=1, le=LONGEST_SECONDS)] | None = Field(
        None, description="So long later the switches go off by themselves; without, never."
    )
    notices_onto: Annotated[str, Field(strict=True, min_length=1, max_length=200)] | None = Field(
        None,
        description="Have the notices wait in this queue, so that others do not wait behind them;"
        " without, where all do. What is refused names the queues that there are for it.",
    )
    dry_run: Annotated[bool, Field(strict=True)] = Field(
        False, description="Say whom it would be about; change nothing, and tell nobody."
    )


def read_lockdown(value: object) -> tuple[LockdownReport | None, list[FieldError]]:
    """What is asked for in decoded JSON, or everything that is wrong with it."""
    if not isinstance(value, dict):
        return None, [FieldError("", "must be a JSON object with a switch and users")]
    try:
        report = LockdownReport.model_validate(value)
    except ValidationError as error:
        return None, field_errors(error, "a lockdown")
    is_from = report.network is not None or report.asn is not None or report.country is not None
    if report.users is not None and (is_from or report.since):
        return None, [FieldError("users", "is not for a network, asn, country or since as well")]
    if report.users is None and not (is_from and report.since):
        missing = "since" if is_from else "network" if report.since else "users"
        wanted = "is required: say users, or since with network, asn, country or several"
        return None, [FieldError(missing, wanted)]
    return report, []


def as_lockdown(report: LockdownReport, tenant: str) -> Lockdown:
    """The report as a tenant's wish."""
    return Lockdown(
        tenant,
        report.switch,
        report.reason,
        actor_of(tenant),
        report.users,
        report.network,
        report.asn,
        report.country,
        report.since,
        report.expire_seconds,
        report.users_per_second,
        report.notices_onto,
    )


def actor_of(tenant: str) -> str:
    """Who has asked, for the audit trail: with the application's key."""
    return f"application {tenant}"


def as_field_error(error: Unfit) -> FieldError:
    """The same in this gateway's words."""
    return FieldError(error.field, str(error))
