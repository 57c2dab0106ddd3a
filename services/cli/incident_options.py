"""The options of `doorbell incident`: who is meant, what is done to them, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from services.cli.amounts import as_rate, seconds_of
from services.cli.users import SwitchName
from services.domain.network import LARGEST_ASN
from services.incidents import LONGEST_REASON, LONGEST_SECONDS


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}: write a network such as 203.0.113.0/24") from None


def _asn(text: str) -> int:
    number = text.upper().removeprefix("AS")
    if not (number.isascii() and number.isdigit()) or not 0 < int(number) <= LARGEST_ASN:
        raise typer.BadParameter(
            f"{text!r} is no autonomous system's number: write 64500 or AS64500"
        )
    return int(number)


def _country(text: str) -> str:
    if not (len(text) == 2 and text.isascii() and text.isalpha()):
        raise typer.BadParameter(
            f"{text!r} is no country's code: write its two letters (ISO 3166-1), such as NL"
        )
    return text.upper()


def _time(text: str) -> datetime:
    try:
        return datetime.now(UTC) - timedelta(seconds=seconds_of(text))
    except typer.BadParameter:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise typer.BadParameter(
            f"{text!r} is no time: write 2030-01-31T08:15:00Z, or how long ago: 90s, 10m, 1h, 2d"
        )
    return found


def _duration(text: str) -> float:
    seconds = seconds_of(text)
    if seconds < 1:
        raise typer.BadParameter(f"{text!r} is too short: write 10m, 1h or 2d")
    if seconds > LONGEST_SECONDS:
        raise typer.BadParameter(f"{text!r} is too long: without it they stay on for good")
    return seconds


def _reason(text: str) -> str:
    if not text.strip():
        raise typer.BadParameter("say why, or leave it out")
    if not text.isprintable() or len(text) > LONGEST_REASON:
        raise typer.BadParameter(f"write one line of at most {LONGEST_REASON} characters")
    return text


def _rate(rate: float | None) -> float | None:
    return None if rate is None else as_rate(rate)


IncidentId = Annotated[UUID, typer.Argument(help="As lockdown and list say it.", metavar="ID")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait for its end.")]
Tenant = Annotated[str, typer.Argument(help="The application whose users these are.")]
Switch = Annotated[SwitchName, typer.Option(help="Which switch.")]
Users = Annotated[
    Path | None, typer.Option(help="Users, one a line; - is standard input.", metavar="FILE")
]
FromNetwork = Annotated[
    Any,
    typer.Option(parser=_network, metavar="CIDR", help="Who signed in from this network ..."),
]
FromProvider = Annotated[
    Any,
    typer.Option(
        parser=_asn,
        metavar="ASN",
        help="... from this provider's autonomous system, AS64500 ...",
    ),
]
FromCountry = Annotated[
    Any,
    typer.Option(parser=_country, metavar="CODE", help="... from this country, such as NL ..."),
]
Since = Annotated[
    Any,
    typer.Option(
        parser=_time,
        metavar="TIME",
        help="... from then on: 2030-01-31T08:15:00Z, or how long ago: 2h.",
    ),
]
Reason = Annotated[str, typer.Option(callback=_reason, help="Why, for the audit trail.")]
Expire = Annotated[
    float | None,
    typer.Option(
        "--for",
        parser=_duration,
        metavar="DURATION",
        help="Then the switches go off by themselves: 10m, 1h, 2d.",
    ),
]
Rate = Annotated[float | None, typer.Option(callback=_rate, help="At most so many users a second.")]
NoticesOnto = Annotated[
    str | None,
    typer.Option(
        metavar="QUEUE",
        help="Let the notices wait in this queue of their pool, and others not behind them.",
    ),
]
