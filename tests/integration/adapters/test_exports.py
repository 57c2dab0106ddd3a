"""What is kept about a user is collected once, packed once, and kept for a day."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4
from zipfile import ZipFile

import pytest

from services.adapters.exports import exports
from services.adapters.retention import forget_old
from services.domain.errors import Refused, Unavailable
from services.domain.outcome import Done, Failed
from services.handlers.export_user import NOT_OFFERED, export_learned, export_rows, pack_export
from tests.integration.adapters.conftest import World
from tests.support.fleet import wait_until


class Api:
    """An outlier API that says what it has learned, or fails."""

    def __init__(self, learned: Mapping[str, Any] | Exception | None) -> None:
        self.learned = learned

    def export(self, tenant_id: str, user_id: str) -> Mapping[str, Any] | None:
        assert (tenant_id, user_id) == ("shop", "ada")
        if isinstance(self.learned, Exception):
            raise self.learned
        return self.learned


def _ask(world: World) -> UUID:
    workflow_id = uuid4()
    world.rows(
        "INSERT INTO workflow (id, tenant_id, name, user_id) VALUES (%s, 'shop', 'export', 'ada')",
        workflow_id,
    )
    return workflow_id


def _whose(world: World) -> None:
    world.rows(
        "UPDATE workflow SET state = 'done', user_id = r.user_id"
        " FROM reported_login AS r WHERE r.workflow_id = workflow.id"
    )


def _archive(world: World, workflow_id: UUID) -> ZipFile:
    [(packed,)] = world.rows(
        "SELECT archive FROM export_archive WHERE workflow_id = %s", workflow_id
    )
    return ZipFile(io.BytesIO(packed))


def test_however_often_a_message_comes_the_archive_is_the_same(world: World) -> None:
    """What is collected takes the place of what was; what is packed stays, also when it comes to nothing later."""
    for user in ("ada", "ada", "bob"):
        world.saved(user_id=user)
    _whose(world)
    workflow_id, begin = _ask(world), exports(world.connect)
    for _ in range(2):
        collected = export_rows(workflow_id, begin)
        assert isinstance(collected, Done)
        assert isinstance(export_learned(workflow_id, begin, Api({"logins": 2})), Done)
    assert isinstance(pack_export(workflow_id, begin), Done)
    packed = world.rows("SELECT archive FROM export_archive")
    assert isinstance(pack_export(workflow_id, begin), Done)
    assert world.rows("SELECT archive FROM export_archive") == packed

    archive = _archive(world, workflow_id)
    about = json.loads(archive.read("export.json"))
    assert (about["tenant"], about["user"]) == ("shop", "ada")
    assert about["rows"]["database"]["login"] == 2
    assert sum(about["rows"]["database"].values()) == collected.result["rows"]
    assert about["rows"]["outlier_api"] == {"learned": 1}
    assert json.loads(archive.read("outlier_api/learned.ndjson")) == {"logins": 2}
    logins = archive.read("database/login.ndjson").decode().splitlines()
    assert [json.loads(line)["user_id"] for line in logins] == ["ada", "ada"]


def test_many_rows_come_in_parts_and_in_order(world: World) -> None:
    """So that no process holds all of them; none is left out or doubled."""
    _whose(world)
    world.rows(
        "INSERT INTO switch_change (tenant_id, user_id, name, is_on, reason, changed_at)"
        " SELECT 'shop', 'ada', 'locked', n %% 2 = 0, 'tried', now() FROM generate_series(1, 1203) AS n"
    )
    workflow_id, begin = _ask(world), exports(world.connect)
    export_rows(workflow_id, begin)
    assert world.rows("SELECT rows FROM export_part WHERE name = 'switch_change' ORDER BY 1") == [
        (203,),
        (500,),
        (500,),
    ]
    export_learned(workflow_id, begin, Api(None))
    pack_export(workflow_id, begin)
    lines = _archive(world, workflow_id).read("database/switch_change.ndjson").decode().splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == len(lines) == 1203


def test_an_api_that_does_not_offer_it_is_named(world: World) -> None:
    """For who has asked: it has to be asked by other means."""
    workflow_id, begin = _ask(world), exports(world.connect)
    export_rows(workflow_id, begin)
    export_learned(workflow_id, begin, Api(None))
    assert isinstance(pack_export(workflow_id, begin), Done)
    about = json.loads(_archive(world, workflow_id).read("export.json"))
    assert about["rows"]["outlier_api"] == {NOT_OFFERED: 0}


@pytest.mark.parametrize("error", [Unavailable("down"), Refused("wrong")])
def test_without_its_answer_nothing_is_packed(world: World, error: Exception) -> None:
    """What is down is asked again; an archive without a store would be taken for the whole."""
    workflow_id, begin = _ask(world), exports(world.connect)
    export_rows(workflow_id, begin)
    assert export_learned(workflow_id, begin, Api(error)) == Failed(error)
    refused = pack_export(workflow_id, begin)
    assert isinstance(refused, Failed)
    assert "outlier_api" in str(refused.error)
    assert world.rows("SELECT count(*) FROM export_archive") == [(0,)]


def test_after_a_day_it_is_gone(world: World) -> None:
    """The archive, and what was put aside for one that was never packed."""
    begin = exports(world.connect)
    for is_packed in (True, False):
        for age in ("23 hours", "25 hours"):
            workflow_id = _ask(world)
            export_rows(workflow_id, begin)
            if is_packed:
                export_learned(workflow_id, begin, Api(None))
                pack_export(workflow_id, begin)
            for table, column in (("export_part", "put_aside_at"), ("export_archive", "packed_at")):
                world.rows(
                    f"UPDATE {table} SET {column} = now() - %s::interval WHERE workflow_id = %s",
                    age,
                    workflow_id,
                )
    forget_old(world.connect, 0, 0)
    for table in ("export_part", "export_archive"):
        assert world.rows(f"SELECT count(DISTINCT workflow_id) FROM {table}") == [(1,)]


def test_an_erased_user_s_export_is_refused(world: World) -> None:
    """Its workflow went with the user's rows."""
    begin = exports(world.connect)
    for outcome in (
        export_learned(uuid4(), begin, Api(None)),
        pack_export(uuid4(), begin),
        export_rows(uuid4(), begin),
    ):
        assert isinstance(outcome, Failed)
        assert "erased" in str(outcome.error)


def test_two_copies_of_a_step_at_once_fail_nothing(world: World) -> None:
    """Whoever comes second tries again, and finds what the first has put aside."""
    world.saved(user_id="ada")
    _whose(world)
    workflow_id, begin = _ask(world), exports(world.connect)
    export_rows(workflow_id, begin)
    with ThreadPoolExecutor(1) as threads, begin() as first:
        assert first.collect_rows(workflow_id)
        second = threads.submit(export_rows, workflow_id, begin)
        wait_until(lambda: _is_waiting(world), 10, "the second copy")
    outcome = second.result(10)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, Unavailable)
    assert isinstance(export_rows(workflow_id, begin), Done)


def _is_waiting(world: World) -> bool:
    locks = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    return world.rows(locks) == [(True,)]
