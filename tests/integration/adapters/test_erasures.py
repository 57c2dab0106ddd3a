"""Erasing a user's rows: all or none, once, and not while somebody is at work for the user."""

from __future__ import annotations

from uuid import UUID, uuid4

from services.adapters.erasures import erasures
from services.domain.errors import Unavailable
from services.domain.outcome import Done, Failed
from services.handlers.erase_user import erase_user, forget_user
from tests.integration.adapters.conftest import World


class Api:
    """An outlier API that knows whom it has forgotten."""

    def __init__(self, logins: int | None = 2) -> None:
        self.logins = logins
        self.forgotten: list[tuple[str, str]] = []

    def forget(self, tenant_id: str, user_id: str) -> int | None:
        self.forgotten.append((tenant_id, user_id))
        return self.logins


def _ask(world: World, user_id: str = "ada") -> UUID:
    erasure_id = uuid4()
    world.rows(
        "INSERT INTO erasure (id, tenant_id, user_id, pseudonym) VALUES (%s, 'shop', %s, 'p')",
        erasure_id,
        user_id,
    )
    return erasure_id


def _end(world: World) -> None:
    world.rows(
        "UPDATE workflow SET state = 'done', finished_at = now(), user_id = r.user_id"
        " FROM reported_login AS r WHERE r.workflow_id = workflow.id"
    )


def _logins(world: World) -> list[str]:
    return [row[0] for row in world.rows("SELECT user_id FROM login ORDER BY user_id")]


def test_rows_go_first_and_then_the_api_forgets(world: World) -> None:
    """Once: what comes later under the same name stays, however often a message comes again."""
    world.saved()
    world.saved(user_id="bob")
    _end(world)
    erasure_id, begin, api = _ask(world), erasures(world.connect), Api()
    for _ in range(2):
        assert isinstance(erase_user(erasure_id, begin), Done)
        assert isinstance(forget_user(erasure_id, begin, api), Done)
        assert _logins(world) == ["bob"]
    assert api.forgotten == [("shop", "ada")]
    found = world.rows("SELECT user_id, outlier_api, (erased ->> 'login')::int FROM erasure")
    assert found == [(None, "forgot 2 logins", 1)]

    world.saved()
    _end(world)
    assert isinstance(erase_user(erasure_id, begin), Done)
    assert _logins(world) == ["ada", "bob"]


def test_it_waits_for_what_is_under_way(world: World) -> None:
    """A login on its way, and one that is asked about again; nothing is deleted by halves."""
    workflow_id = world.saved().workflow_id
    _end(world)
    world.rows("UPDATE workflow SET state = 'accepted'")
    erasure_id, begin = _ask(world), erasures(world.connect)
    first = erase_user(erasure_id, begin)
    assert isinstance(first, Failed)
    assert isinstance(first.error, Unavailable)
    assert _logins(world) == ["ada"]

    _end(world)
    world.rows(
        "INSERT INTO verdict (workflow_id, tenant_id, user_id, level, action, request_id, asks)"
        " VALUES (%s, 'shop', 'ada', 'unscored', 'allow', 'r', 3)",
        workflow_id,
    )
    world.rows(
        "INSERT INTO step (id, state) VALUES (%s, 'ready')", f"rescore-{workflow_id}-3-score"
    )
    assert isinstance(erase_user(erasure_id, begin), Failed)
    world.rows("UPDATE step SET state = 'done', finished_at = now()")
    assert isinstance(erase_user(erasure_id, begin), Done)
    assert _logins(world) == []


def test_one_that_was_asked_for_again_does_nothing_any_more(world: World) -> None:
    """Its message may be replayed long after, when there is a new life to it."""
    world.saved()
    _end(world)
    old = _ask(world)
    world.rows("UPDATE erasure SET user_id = NULL")
    api = Api()
    assert isinstance(erase_user(old, erasures(world.connect)), Done)
    assert isinstance(forget_user(old, erasures(world.connect), api), Done)
    assert (_logins(world), api.forgotten) == (["ada"], [])


def test_an_api_that_cannot_forget_is_named(world: World) -> None:
    """For who has asked: it has to be asked by other means."""
    erasure_id = _ask(world)
    forget_user(erasure_id, erasures(world.connect), Api(None))
    assert world.rows("SELECT outlier_api FROM erasure") == [("does not offer it",)]
