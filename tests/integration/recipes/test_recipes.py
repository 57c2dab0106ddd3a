"""CONTRIBUTING's recipes, followed in one copy of the repository, and then run on one cluster of that copy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from services import settings
from services.celery_app import DoorbellApp, make_app
from tests.integration.adapters.servers import HttpServer, Received, http_server
from tests.support.cluster import IPHONE, WINDOWS, Cluster, running_cluster
from tests.support.fleet import doorbell_node, topology_of, wait_until
from tests.support.outlier_api import AdjustableOutlierApi
from tests.support.postgres import PrivatePostgres
from tests.support.recipes import copy_of_the_repository, recipe

pytestmark = pytest.mark.timeout(300)

RECIPES = (
    "A task of your own",
    "A step in the workflow",
    "A queue",
    "A pool",
    "A notification channel",
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository after these recipes, one upon the other."""
    tree = copy_of_the_repository(tmp_path_factory.mktemp("recipes"))
    for title in RECIPES:
        followed = recipe(title)
        followed.change(tree)
        followed.finish(tree)
    return tree


@pytest.fixture(scope="module")
def push_service() -> Iterator[HttpServer]:
    with http_server(well) as running:
        yield running


def well(_: Received) -> tuple[int, dict[str, str], bytes]:
    return 202, {}, b""


@pytest.fixture
def push(push_service: HttpServer) -> Iterator[HttpServer]:
    """The push service, which answers well afterwards whatever a test has it answer."""
    yield push_service
    push_service.reply = well


@pytest.fixture(scope="module")
def cluster(
    copy: Path, push_service: HttpServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Every process of the copy but beat, on services of its own: its queues, its channel."""
    directory = tmp_path_factory.mktemp("cluster-of-recipes")
    with (
        doorbell_node(code=copy) as node,
        PrivatePostgres(migrations=copy / "deploy/postgres/migrations") as postgres,
        postgres.database() as url,
        AdjustableOutlierApi() as api,
        running_cluster(
            node,
            url,
            directory,
            api.url,
            with_beat=False,
            code=copy,
            DOORBELL_PUSH_URL=push_service.url,
        ) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def app(cluster: Cluster, copy: Path) -> Iterator[DoorbellApp]:
    """A producer: it has the copy's topology, and none of its code."""
    environment = cluster.fleet.environment("operator")
    wanted = {
        name: value
        for name, value in environment.items()
        if name.startswith(("DOORBELL_", "OUTLIER_")) and name != "DOORBELL_PUSH_URL"
    }
    made = make_app(settings.load(wanted), topology_of(copy))
    yield made
    made.ledger.publisher().close()
    made.ledger.close()
    made.close()


def test_a_task_of_ones_own_is_done(app: DoorbellApp) -> None:
    """Each item has its outcome; what is wrong with one is that one's alone."""
    sent = [app.send_task("db_writes.welcome_user", [user]) for user in ("ada", "", "bob")]

    assert [it.get(timeout=30, propagate=False) for it in (sent[0], sent[2])] == [
        {"welcome": "ada"},
        {"welcome": "bob"},
    ]
    assert "no user" in str(sent[1].get(timeout=30, propagate=False))


def test_a_step_runs_in_every_logins_workflow(cluster: Cluster) -> None:
    """It is planned with the others, and done after the verdict with what it was made with."""
    workflow = cluster.post("stepwise")

    assert cluster.ended(workflow) == ["done"]
    last = cluster.workflow(workflow)["steps"][-1]
    assert (last["task"], last["state"]) == ("db_writes.welcome_user", "done")
    assert cluster.rows("SELECT result::jsonb FROM step WHERE id = %s", last["id"]) == [
        ({"welcome": workflow},)
    ]


def test_a_queue_is_emptied_by_its_pool(app: DoorbellApp, cluster: Cluster) -> None:
    """What is routed to it goes through it, to the processes that have others of the pool's work too."""
    assert cluster.consumers("calls") == cluster.consumers("notifications") == 1
    sent = app.send_task("notifications.tell_application", [{"tenant_id": "shop", "turn": 1}])

    sent.get(timeout=30)
    assert cluster.rows("SELECT queue, state FROM step WHERE id = %s", sent.id) == [
        ("calls", "done")
    ]


def test_a_pool_does_its_tasks(app: DoorbellApp, cluster: Cluster, copy: Path) -> None:
    """Its process consumes, under a broker user of its own; compose, Prometheus and Grafana know it."""
    assert app.send_task("archive.note", ["kept"]).get(timeout=30) == {"word": "kept"}
    services = yaml.safe_load((copy / "docker-compose.yml").read_text())["services"]
    assert services["worker-archive"]["command"] == ["worker", "archive"]
    for file in ("deploy/docker/prometheus.yml", "deploy/grafana/dashboards/pool.json"):
        assert "archive" in (copy / file).read_text(), file


def test_the_canary_goes_through_the_pool_too(app: DoorbellApp, cluster: Cluster) -> None:
    """Each queue has its probe, that of the new pool as well, and all of them together return."""
    app.send_task("maintenance.canary", [None]).get(timeout=30)

    def probed() -> set[str]:
        statement = "SELECT queue FROM step WHERE task = 'maintenance.probe' AND state = 'done'"
        return {str(queue) for (queue,) in cluster.rows(statement)}

    wait_until(lambda: probed() >= {"archive", "calls"}, 30, "its probes")
    returned = "SELECT count(*) FROM step WHERE task = 'maintenance.canary_returned'"
    wait_until(lambda: cluster.rows(returned) == [(1,)], 30, "the canary")


def test_a_channel_delivers_a_notice(cluster: Cluster, push: HttpServer) -> None:
    """To a user without an address, of a new device: once, and the receipt is recorded."""
    workflow = _second_device(cluster)

    receipts = "SELECT channel, receipt FROM receipt WHERE workflow_id = %s"
    wait_until(lambda: cluster.rows(receipts, workflow), 30, "its receipt")
    assert cluster.rows(receipts, workflow) == [("push", "HTTP 202")]
    [(notice,)] = cluster.rows("SELECT id::text FROM notice WHERE workflow_id = %s", workflow)
    keys = [called.headers["idempotency-key"] for called in push.received]
    assert keys.count(notice) == 1


def test_what_was_given_up_is_replayed_onto_another_queue_of_its_pool(
    cluster: Cluster, copy: Path, push: HttpServer
) -> None:
    """Another pool's is refused by name, and nothing is lost by it; what follows waits where it always does."""
    push.reply = lambda _: (400, {}, b"")
    workflow = _second_device(cluster)
    deliveries = (
        "SELECT id, queue, state FROM step WHERE workflow_id = %s"
        " AND task = 'notifications.deliver_notice'"
    )
    [(step, queue, state)] = cluster.rows(deliveries, workflow)
    assert (queue, state) == ("notifications", "failed")
    push.reply = well

    code, said = _replay(cluster, copy, step, "nowhere")
    assert (code, "--onto: there is no queue 'nowhere'" in said) == (2, True)
    code, said = _replay(cluster, copy, step, "db_writes")
    assert (code, "not done by the pool of queue db_writes" in " ".join(said.split())) == (1, True)
    assert cluster.rows(deliveries, workflow) == [(step, "notifications", "failed")]

    assert _replay(cluster, copy, step, "calls")[0] == 0
    assert cluster.ended(workflow) == ["done"]
    assert cluster.rows(deliveries, workflow) == [(step, "calls", "done")]
    receipt = "SELECT receipt FROM receipt WHERE workflow_id = %s"
    wait_until(lambda: cluster.rows(receipt, workflow) == [("HTTP 202",)], 30, "its receipt")
    callbacks = (
        "SELECT queue FROM step WHERE workflow_id = %s AND task = 'notifications.record_receipt'"
    )
    assert cluster.rows(callbacks, workflow) == [("notifications",)]


def _second_device(cluster: Cluster) -> str:
    """The workflow of a user without an address who signs in on a new device."""
    user = f"user-{uuid4().hex[:8]}"
    for device in (WINDOWS, IPHONE):
        workflow = cluster.post(user, device, email=None)
        cluster.ended(workflow)
    return workflow


def _replay(cluster: Cluster, code: Path, step: str, queue: str) -> tuple[int, str]:
    """The exit code of the operator's command, and what it printed."""
    script = "import sys; from services.cli.main import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", script, "dead", "replay", step, "--onto", queue, "--yes"]
    done = subprocess.run(
        command,
        cwd=code,
        env=cluster.fleet.environment("operator"),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr
