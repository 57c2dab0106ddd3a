"""Logins of before are learned from, and the logins of now do not wait behind them."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from tests.integration.workflow.conftest import Operate
from tests.support.cluster import KEY, Cluster

USERS = 450
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1"
)
WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0"


def test_an_import_teaches_and_tells_nobody(
    cluster: Cluster, operate: Operate, tmp_path: Path
) -> None:
    """Twice as many logins as may be under way; a user's second device is known then, a third is told of."""
    run = uuid4().hex[:8]
    rows = ["user_id,occurred_at,ip,user_agent,email,successful"]
    for number in range(USERS):
        who = f"{run}-{number},2020-03-01T09:00:00Z,203.0.113.7"
        rows += [f'{who},"{agent}",ada@example.org,true' for agent in (IPHONE, WINDOWS)]
    rows.append(f"{run}-0,2020-03-01T09:00:00Z,203.0.113.7,curl/8,ada@example.org,false")
    (tmp_path / "logins.csv").write_text("\n".join(rows))
    (tmp_path / "key").write_text(KEY)
    where = ("--gateway", cluster.url, "--key-file", str(tmp_path / "key"))

    code, outcome = operate("logins", "import", str(tmp_path / "logins.csv"), *where)
    assert (code, outcome["accepted"], outcome["skipped"]) == (0, 2 * USERS, 1)
    most = cluster.rows(
        "SELECT max((SELECT count(*) FROM workflow AS open WHERE open.user_id LIKE %s"
        " AND open.accepted_at <= w.accepted_at"
        " AND coalesce(open.finished_at > w.accepted_at, true)))"
        " FROM workflow AS w WHERE w.user_id LIKE %s",
        f"{run}-%",
        f"{run}-%",
    )
    assert most[0][0] <= 420  # two batches, and stragglers of an earlier one

    live = cluster.post(f"{run}-7", WINDOWS)
    assert cluster.ended(live) == ["done"]
    notices = "SELECT count(*) FROM notice WHERE user_id LIKE %s"
    assert cluster.rows(notices, f"{run}-%") == [(0,)]
    assert cluster.ended(cluster.post(f"{run}-7", "Mozilla/5.0 (X11; Linux) Chrome/120.0")) == [
        "done"
    ]
    assert cluster.rows(notices, f"{run}-%") == [(1,)]
    verdicts = "SELECT count(*) FROM verdict WHERE user_id LIKE %s AND dry_run"
    assert cluster.rows(verdicts, f"{run}-%")[0][0] >= 2 * USERS - 400
