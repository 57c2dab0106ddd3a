"""The outlier API misbehaves: retried, then failed open, and visible."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.support.cluster import Cluster
from tests.support.fleet import wait_until
from tests.support.outlier_api import AdjustableOutlierApi


@pytest.fixture(autouse=True)
def _nothing_is_asked_again(cluster: Cluster) -> None:
    """What another test has left without a score would have the breaker count calls of its own."""
    cluster.rows("UPDATE verdict SET ask_at = NULL")
    wait_until(
        lambda: (
            not cluster.rows(
                "SELECT FROM step WHERE task = 'external_api.score_login' AND state = 'ready'"
            )
        ),
        60,
        "the scores that were asked for before this test",
    )
    cluster.rows("DELETE FROM breaker")


def _verdict(cluster: Cluster, workflow: str) -> tuple[str, str, str | None]:
    rows = cluster.rows(
        "SELECT level, action, score::text FROM verdict WHERE workflow_id = %s", workflow
    )
    level, action, score = rows[0]
    return level, action, score


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"{}"),
        (503, b""),
        (200, b"<html>welcome to the proxy</html>"),
        (200, b'{"score": "high"}'),
        (200, b'{"score": 1e400, "level": "low", "action": "allow", "reasons": []}'),
    ],
    ids=["500", "503", "another page", "wrong types", "an infinite score"],
)
def test_an_api_that_answers_badly(
    cluster: Cluster, api: AdjustableOutlierApi, status: int, body: bytes
) -> None:
    """It is asked again under the same key; then the login stays unscored and the workflow ends done."""
    api.status, api.body = status, body
    workflow = cluster.post(f"user-{uuid4().hex[:8]}")

    assert cluster.ended(workflow) == ["done"]
    assert api.calls[workflow] == 4
    assert _verdict(cluster, workflow) == ("unscored", "allow", None)


def test_an_api_that_recovers(cluster: Cluster, api: AdjustableOutlierApi) -> None:
    """A retry finds it well: the verdict is the API's."""
    api.status = 500
    workflow = cluster.post(f"user-{uuid4().hex[:8]}")
    wait_until(lambda: api.calls[workflow], 30)
    api.reset()

    assert cluster.ended(workflow) == ["done"]
    assert _verdict(cluster, workflow)[0] == "low"


def test_an_api_that_hangs_delays_no_other_pool(
    cluster: Cluster, api: AdjustableOutlierApi
) -> None:
    """Devices are checked and logins stored meanwhile; after the time-outs the login is unscored."""
    api.hold.clear()
    workflow = cluster.post(f"user-{uuid4().hex[:8]}")

    assert cluster.ended(workflow, seconds=90) == ["done"]
    assert _verdict(cluster, workflow)[0] == "unscored"
    assert cluster.count("login", workflow) == 1


def test_the_breaker_spares_an_api_that_is_down(
    cluster: Cluster, api: AdjustableOutlierApi
) -> None:
    """After five failures in a row, by whichever process, nobody calls for a while."""
    api.status = 500
    workflows = [cluster.post(f"user-{uuid4().hex[:8]}") for _ in range(8)]

    assert set(cluster.ended(*workflows)) == {"done"}
    calls = sum(api.calls[workflow] for workflow in workflows)
    assert calls < 8 * 4
    assert {_verdict(cluster, workflow)[0] for workflow in workflows} == {"unscored"}


def _make_older(cluster: Cluster, workflow: str) -> None:
    cluster.rows(
        "UPDATE verdict SET ask_at = ask_at - interval '5 minutes' WHERE workflow_id = %s",
        workflow,
    )


def test_logins_are_scored_when_the_api_is_back(
    cluster: Cluster, api: AdjustableOutlierApi
) -> None:
    """Late, and once: the breaker closes by what is asked again, nobody has to sign in for it."""
    api.status = 503
    workflows = [cluster.post(f"user-{uuid4().hex[:8]}") for _ in range(6)]
    assert set(cluster.ended(*workflows)) == {"done"}
    assert {_verdict(cluster, workflow)[0] for workflow in workflows} == {"unscored"}

    before = {workflow: api.calls[workflow] for workflow in workflows}
    api.reset()
    for workflow in workflows:
        _make_older(cluster, workflow)
    wait_until(lambda: all(_verdict(cluster, w)[0] == "low" for w in workflows), 120)

    late = "SELECT late FROM verdict WHERE workflow_id = ANY (%s)"
    assert cluster.rows(late, workflows) == [(True,)] * 6
    assert [api.calls[workflow] - before[workflow] for workflow in workflows] == [1] * 6


def test_a_login_that_the_api_refuses_is_not_asked_about_again(
    cluster: Cluster, api: AdjustableOutlierApi
) -> None:
    """Two rounds later it has been asked about once."""
    api.status = 400
    workflow = cluster.post(f"user-{uuid4().hex[:8]}")
    assert cluster.ended(workflow) == ["failed"]
    wait_until(lambda: cluster.count("verdict", workflow) == 1, 30)
    _make_older(cluster, workflow)
    ticks = "SELECT count(*) FROM step WHERE task = 'maintenance.rescore' AND state = 'done'"
    [(before,)] = cluster.rows(ticks)
    wait_until(lambda: cluster.rows(ticks)[0][0] >= before + 2, 60)
    assert (api.calls[workflow], _verdict(cluster, workflow)[0]) == (1, "unscored")
