"""The contract refuses what it does not know, and says which field is meant."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from services.outlier.contract import ScoreAnswer, ScoreRequest

MINIMAL: dict[str, Any] = {
    "request_id": "r-1",
    "user_id": "u-1",
    "occurred_at": "2026-03-01T09:30:00Z",
    "device_known": False,
}


def test_everything_but_the_minimum_may_be_absent() -> None:
    """A client that knows nothing but who and when gets through."""
    request = ScoreRequest.model_validate(MINIMAL)
    assert request.tenant_id == "default"
    assert request.occurred_at == datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("request_id", ""),
        ("request_id", "x" * 256),
        ("user_id", 7),
        ("user_id", "a\x00b"),
        ("occurred_at", 1772357400),
        ("occurred_at", "1772357400"),
        ("occurred_at", "2026-03-01T09:30:00"),
        ("occurred_at", "0001-01-01T00:00:00+01:00"),
        ("occurred_at", "1969-12-31T23:59:59Z"),
        ("occurred_at", "9999-12-31T23:59:59-10:00"),
        ("ip_network", "203.0.113.7/24"),
        ("ip_network", "somewhere"),
        ("asn", -1),
        ("asn", "64500"),
        ("country", "Germany"),
        ("country", "de"),
        ("device_known", "yes"),
        ("user_agent", {"browser": "Firefox", "version": "143"}),
        ("user_agent", "Mozilla/5.0"),
        ("unknown", 1),
    ],
)
def test_wrong_values_are_refused_by_name(field: str, value: object) -> None:
    """A typing error in a client is an error, not a login scored without that fact."""
    with pytest.raises(ValidationError) as caught:
        ScoreRequest.model_validate({**MINIMAL, field: value})
    assert {error["loc"][0] for error in caught.value.errors()} == {field}


@pytest.mark.parametrize("network", ["203.0.113.0/24", "2001:db8::/48", "203.0.113.9"])
def test_networks_of_both_versions_are_taken(network: str) -> None:
    """IPv6 and single addresses are networks as well."""
    assert ScoreRequest.model_validate({**MINIMAL, "ip_network": network}).ip_network


def test_spellings_of_one_network_are_one_value() -> None:
    """The model compares texts, so the contract makes them equal."""
    request = ScoreRequest.model_validate({**MINIMAL, "ip_network": "2001:0DB8:0::/48"})
    assert request.ip_network == "2001:db8::/48"


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -0.1, "1"])
def test_an_answer_without_a_usable_score_is_refused(score: object) -> None:
    """A client that checks answers with this model lets no rubbish through."""
    answer = {
        "request_id": "r-1",
        "score": score,
        "level": "low",
        "action": "allow",
        "reasons": [],
        "model_version": "m",
    }
    with pytest.raises(ValidationError):
        ScoreAnswer.model_validate(answer)
