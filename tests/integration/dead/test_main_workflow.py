"""The product's own workflow after the outlier API refused it: replayed, resumed, told apart by generation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.dead.conftest import Bench, Operate
from tests.support.cluster import IPHONE, WINDOWS, Cluster, running_cluster
from tests.support.fleet import wait_until
from tests.support.outlier_api import AdjustableOutlierApi
from tests.support.postgres import PrivatePostgres

LESS_THAN_A_LEASE_SECONDS = 12
"""A call that was answered holds its step's lease no longer, or a replay would stand still."""


@pytest.fixture
def api() -> Iterator[AdjustableOutlierApi]:
    with AdjustableOutlierApi() as running:
        yield running


@pytest.fixture
def cluster(
    idle: Bench,
    api: AdjustableOutlierApi,
    postgres: PrivatePostgres,
    tmp_path: Path,
    operate: Operate,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Cluster]:
    """All processes on the bench's broker, with a ledger of their own that the command is told of."""
    with (
        postgres.database() as url,
        running_cluster(idle.node, url, tmp_path, api.url) as running,
    ):
        monkeypatch.setenv("DOORBELL_DATABASE_URL", url)
        yield running


def test_a_refused_login_is_scored_after_all(
    cluster: Cluster, api: AdjustableOutlierApi, operate: Operate
) -> None:
    """It fails, fails again in its second generation, and in the third the verdict replaces `unscored`."""
    assert cluster.ended(cluster.post("ada", IPHONE)) == ["done"]
    api.status = 422
    workflow = cluster.post("ada", WINDOWS)
    assert cluster.ended(workflow) == ["failed"]

    def noted() -> list[tuple[str, int]]:
        rows = cluster.rows(
            "SELECT level, generation FROM failed_step WHERE workflow_id = %s ORDER BY generation",
            workflow,
        )
        return [(str(level), int(generation)) for level, generation in rows]

    wait_until(lambda: noted() == [("chain", 1)], 30)
    code, told = operate("dead", "replay", "--reason", "refused")
    assert (code, [d["task"] for d in told["done"]]) == (0, ["external_api.score_login"])
    wait_until(lambda: noted() == [("chain", 1), ("chain", 2)], LESS_THAN_A_LEASE_SECONDS)
    wait_until(lambda: cluster.workflow(workflow)["state"] == "failed", 30)

    api.reset()
    assert operate("workflow", "resume", workflow)[0] == 0
    assert cluster.ended(workflow, seconds=LESS_THAN_A_LEASE_SECONDS) == ["done"]
    assert cluster.rows("SELECT level FROM verdict WHERE workflow_id = %s", workflow) == [("low",)]
    assert noted() == [("chain", 1), ("chain", 2)]
    assert cluster.count("notice", workflow) == len(cluster.mails_to("ada")) == 1
    operate("dead", "drop", "--all")
    wait_until(lambda: not cluster.waiting_messages(), 30, str(cluster.waiting_messages()))
