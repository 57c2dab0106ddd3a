"""A user is given all that is kept about them, by the command and by the application, and nobody else is."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID
from zipfile import ZipFile

import pytest

from services.cli.main import run
from tests.support.cluster import IPHONE, WINDOWS, Cluster, running_cluster
from tests.support.fleet import wait_until
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import PrivateRabbitMQ

USER, OTHER = "export/of a user", "okapi-8"
_EXPORTS = "SELECT id FROM workflow WHERE user_id = %s AND name = 'export' AND tenant_id = 'shop'"


@pytest.fixture(scope="module")
def cluster(
    node: PrivateRabbitMQ, postgres: PrivatePostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """With the reference outlier API and two users in it."""
    directory = tmp_path_factory.mktemp("exports")
    with postgres.database() as url, running_cluster(node, url, directory) as running:
        for user in (USER, OTHER):
            email = {"email": "who@example.org"}
            workflows = [running.post(user, agent, **email) for agent in (WINDOWS, IPHONE)]
            assert running.ended(*workflows) == ["done", "done"]
        yield running


def _files(archive: bytes) -> dict[str, list[Any]]:
    with ZipFile(io.BytesIO(archive)) as packed:
        return {
            name: [json.loads(line) for line in packed.read(name).decode().splitlines()]
            for name in packed.namelist()
            if name.endswith(".ndjson")
        }


def test_an_application_gets_an_archive(cluster: Cluster) -> None:
    """Its workflow is planned, runs and is shown as any other; the archive has every store in it."""
    begun = cluster.call("POST", "/v1/users/export%2Fof%20a%20user/export")
    assert begun.status_code == 202
    workflow_id = begun.json()["workflow_id"]
    assert cluster.ended(workflow_id) == ["done"]

    shown = cluster.workflow(workflow_id)
    assert (shown["name"], shown["user_id"], shown["event_id"]) == ("export", USER, None)
    assert {step["task"]: (step["state"], step["attempts"]) for step in shown["steps"]} == {
        "maintenance.export_rows": ("done", 1),
        "external_api.export_learned": ("done", 1),
        "maintenance.pack_export": ("done", 1),
    }
    rows, learned, packed = shown["steps"]
    assert rows["group"] == learned["group"] is not None
    assert (packed["after"], packed["role"]) == ([rows["id"], learned["id"]], "body")
    answer = cluster.call("GET", f"/v1/exports/{workflow_id}")
    assert answer.headers["content-type"] == "application/zip"
    files = _files(answer.content)
    assert len(files["database/login.ndjson"]) == 2
    assert files["outlier_api/learned.ndjson"][0]["logins"] == 2
    assert OTHER not in json.dumps(files)
    assert cluster.count("export_part", workflow_id) == 0


def test_another_tenant_and_what_is_not_there_get_nothing(cluster: Cluster) -> None:
    """One answer for both: 404 with a reason, and nothing is begun."""
    workflow_id = cluster.call("POST", f"/v1/users/{OTHER}/export").json()["workflow_id"]
    assert cluster.ended(workflow_id) == ["done"]
    cluster.rows("INSERT INTO tenant (id, name) VALUES ('elsewhere', 'Elsewhere')")
    cluster.rows("UPDATE workflow SET tenant_id = 'elsewhere' WHERE id = %s", workflow_id)
    for path in (f"/v1/exports/{workflow_id}", "/v1/exports/00000000-0000-0000-0000-000000000000"):
        answer = cluster.call("GET", path)
        assert (answer.status_code, "no archive of this id" in answer.json()["detail"]) == (
            404,
            True,
        )
    nobody = cluster.call("POST", "/v1/users/nobody/export")
    assert (nobody.status_code, nobody.json()["detail"]) == (
        404,
        "nothing is kept about this user",
    )


def test_one_under_way_is_answered_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the application and by the command, which waits for it and writes the same archive."""
    before = cluster.rows(_EXPORTS, OTHER)
    cluster.fleet.stop("external_api")
    try:
        first = cluster.call("POST", f"/v1/users/{OTHER}/export").json()["workflow_id"]
        assert cluster.call("POST", f"/v1/users/{OTHER}/export").json()["workflow_id"] == first
        unpacked = cluster.call("GET", f"/v1/exports/{first}")
        assert unpacked.status_code == 404
    finally:
        cluster.fleet.start("external_api")
    for name, value in cluster.fleet.environment("operator").items():
        if name.startswith("DOORBELL_"):
            monkeypatch.setenv(name, value)
    file = tmp_path / "export.zip"
    assert run(["users", "export", "shop", OTHER, "--archive", str(file)]) == 0
    assert len(_files(file.read_bytes())["database/login.ndjson"]) == 2
    assert cluster.ended(first) == ["done"]
    assert {*cluster.rows(_EXPORTS, OTHER)} - {*before} == {(UUID(first),)}


def test_a_file_that_cannot_be_written_is_named_before_anything_begins(
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Nobody waits for an archive that has nowhere to go."""
    for name, value in cluster.fleet.environment("operator").items():
        if name.startswith("DOORBELL_"):
            monkeypatch.setenv(name, value)
    before = cluster.rows("SELECT count(*) FROM workflow")
    kept = tmp_path / "kept.zip"
    kept.write_bytes(b"of before")
    assert run(["users", "export", "shop", "nobody", "--archive", str(kept)]) == 4
    assert ([*tmp_path.iterdir()], kept.read_bytes()) == ([kept], b"of before")
    missing = tmp_path / "no directory" / "export.zip"
    assert run(["users", "export", "shop", USER, "--archive", str(missing)]) == 2
    assert f"--archive: {missing} cannot be written" in capfd.readouterr().err
    assert cluster.rows("SELECT count(*) FROM workflow") == before


def test_parts_that_are_gone_are_not_left_out(cluster: Cluster) -> None:
    """What retention has taken meanwhile is asked for again, not left out."""
    cluster.fleet.stop("external_api")
    try:
        workflow_id = cluster.call("POST", f"/v1/users/{OTHER}/export").json()["workflow_id"]
        wait_until(lambda: cluster.count("export_part", workflow_id) > 0, 30, "the database's part")
        cluster.rows("DELETE FROM export_part WHERE workflow_id = %s", workflow_id)
    finally:
        cluster.fleet.start("external_api")
    assert cluster.ended(workflow_id) == ["failed"]
    assert cluster.call("GET", f"/v1/exports/{workflow_id}").status_code == 404
