"""A tenant's limit at real gateways."""

from __future__ import annotations

from collections import Counter

import pytest

from services.gateway import authentication
from tests.integration.gateway.door import Door, login, opened_door, wait_until


@pytest.fixture(autouse=True)
def looked_up_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits are noticed when keys are looked up."""
    monkeypatch.setattr(authentication, "CACHE_SECONDS", 0.2)


def _limit(door: Door, per_second: float | None) -> None:
    door.rows("UPDATE tenant SET requests_per_second = %s WHERE id = 'shop'", per_second)


def _share(door: Door) -> float | None:
    """Of the limit of the shop, as a request has this gateway notice it."""
    door.read("/v1/users/ada/switches")
    known = [caller for caller, _ in door.parts.keys._known.values() if caller.tenant == "shop"]
    return known[0].per_second


def test_what_is_too_much_is_refused_with_the_time_to_wait(door: Door) -> None:
    """Nothing of it is kept; another tenant notices nothing, and the requests are counted as what they are."""
    _limit(door, 0.2)
    answers = [door.report(login()) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [202, 202, 429, 429, 429]
    refused = answers[-1]
    assert 1 <= int(refused.headers["retry-after"]) <= 5
    assert refused.headers["content-type"] == "application/problem+json"
    assert "requests" in refused.json()["detail"]
    assert door.count("workflow") == 2
    for path in ("/v1/users/ada/devices", "/v1/workflows?user_id=ada"):
        assert door.read(path).status_code == 429
    # Whoever is locked stays out, whatever else is asked for.
    assert door.read("/v1/users/ada/switches").status_code == 200
    assert door.report(login(), tenant="bank").status_code == 202
    metrics = door.parts.metrics.registry
    assert metrics.get_sample_value("doorbell_logins_total", {"outcome": "limited"}) == 3


def test_each_login_of_a_batch_counts(door: Door) -> None:
    """The batch is taken whole; what follows waits for as long as it was worth."""
    _limit(door, 10.0)
    assert door.report_batch(*[login() for _ in range(200)]).status_code == 200
    refused = door.report_batch(login())
    assert refused.status_code == 429
    assert 10 <= int(refused.headers["retry-after"]) <= 15


def test_a_limit_that_is_taken_away_holds_no_longer(door: Door) -> None:
    """As soon as the key is looked up again."""
    _limit(door, 0.2)
    wait_until(lambda: door.report(login()).status_code == 429)
    _limit(door, None)
    wait_until(lambda: door.report(login()).status_code == 202)


def test_gateways_share_a_limit(door: Door, database_url: str) -> None:
    """Those that the tenant's requests come to: one that is silent for a while gives its share back."""
    _limit(door, 10_000.0)
    with opened_door(database_url) as other:
        wait_until(lambda: (_share(door), _share(other)) == (5_000.0, 5_000.0))
    door.rows("UPDATE tenant_gateway SET seen_at = now() - interval '30 seconds'")
    wait_until(lambda: _share(door) == 10_000.0)
    door.rows("UPDATE tenant_gateway SET seen_at = now() - interval '2 hours'")
    wait_until(lambda: _share(door) == 10_000.0 and door.count("tenant_gateway") == 1)


def test_where_nothing_can_be_written_each_gateway_has_the_whole(door: Door) -> None:
    """Reads are answered as before."""
    _limit(door, 10_000.0)
    door.rows("INSERT INTO tenant_gateway VALUES ('shop', gen_random_uuid(), now())")
    wait_until(lambda: _share(door) == 5_000.0)
    name = door.rows("SELECT current_database()")[0][0]
    door.rows(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    door.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    wait_until(lambda: door.read("/v1/users/ada/switches").status_code == 200)
    assert Counter(door.read("/v1/users/ada/devices").status_code for _ in range(5)) == {200: 5}
    wait_until(lambda: _share(door) == 10_000.0)
