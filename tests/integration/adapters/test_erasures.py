"""Erasing a user's rows: all or none, once, and not while somebody is at work for the user; then a certificate."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.adapters.erasures import TOLD_SECONDS, erasures
from services.domain.certificate import is_genuine
from services.domain.errors import Refused, Unavailable
from services.domain.outcome import Done, Failed
from services.handlers.erase_user import (
    BeginErasure,
    certify_erasure,
    clear_letters,
    erase_exports,
    erase_user,
    forget_user,
)
from services.ledger.planning import Plan, PlannedStep
from services.personal_data import PLACES
from services.user_erasures import begin_erasure
from tests.integration.adapters.conftest import World


class Api:
    """An outlier API that knows whom it has forgotten, and answers one thing after the other."""

    def __init__(self, *answers: int | None) -> None:
        self.answers = [*(answers or (2, 0))]
        self.forgotten: list[tuple[str, str]] = []

    def forget(self, tenant_id: str, user_id: str) -> int | None:
        self.forgotten.append((tenant_id, user_id))
        return self.answers.pop(0)


class Letters:
    """A broker's dead letters, by step."""

    def __init__(self, *ids: str) -> None:
        self.ids = {*ids}

    def take_out(self, steps: Mapping[str, Sequence[str]]) -> int:
        found = self.ids & {step for ids in steps.values() for step in ids}
        self.ids -= found
        return len(found)


def _plan(workflow_id: UUID, label: str) -> Plan:
    return Plan((PlannedStep(str(uuid4()), "maintenance.erase_user", "maintenance", (), 0),))


def _begin(world: World, user_id: str = "ada") -> UUID | None:
    with world.connect() as connection:
        begun = begin_erasure(connection, "shop", user_id, f"p-{user_id}", "me@desk", _plan)
    return begun[0] if begun else None


def _ask(world: World, user_id: str = "ada") -> UUID:
    erasure_id = _begin(world, user_id)
    assert erasure_id is not None
    return erasure_id


def _end(world: World) -> None:
    world.rows(
        "UPDATE workflow SET state = 'done', finished_at = now(), user_id = r.user_id"
        " FROM reported_login AS r WHERE r.workflow_id = workflow.id"
    )


def _logins(world: World) -> list[str]:
    return [row[0] for row in world.rows("SELECT user_id FROM login ORDER BY user_id")]


def _error(outcome: Done | Failed) -> str:
    assert isinstance(outcome, Failed)
    return f"{type(outcome.error).__name__}: {outcome.error}"


def test_every_place_is_emptied_and_certified(world: World) -> None:
    """Once: what comes later under the same name stays, however often a message comes again."""
    world.saved()
    world.saved(user_id="bob")
    _end(world)
    erasure_id, begin, api, letters = _ask(world), erasures(world.connect), Api(), Letters()
    for _ in range(2):
        assert isinstance(erase_exports(erasure_id, begin), Done)
        assert isinstance(erase_user(erasure_id, begin), Done)
        assert isinstance(clear_letters(erasure_id, begin, letters.take_out), Done)
        assert isinstance(forget_user(erasure_id, begin, api), Done)
        assert isinstance(certify_erasure(erasure_id, begin, letters.take_out), Done)
        assert _logins(world) == ["bob"]
    assert api.forgotten == [("shop", "ada")] * 2
    [(user, certificate, key)] = world.rows(
        "SELECT user_id, certificate, cookie_key FROM erasure JOIN tenant ON tenant.id = tenant_id"
    )
    assert user is None
    assert is_genuine(key, certificate)
    # As a word: the digits of the digest may spell it too.
    assert not re.search(r"\bada\b", str(certificate).replace("p-ada", ""))
    deleted = {it["place"]: it["deleted"] for it in certificate["places"]}
    assert [*deleted] == [place.table for place in PLACES]
    assert (deleted["login"], deleted["device"], deleted["step"]) == (1, 1, 0)
    assert [certificate[name] for name in ("tenant", "pseudonym", "asked_by", "outlier_api")] == [
        *("shop", "p-ada", "me@desk", "forgot 2 logins")
    ]

    world.saved()
    _end(world)
    assert isinstance(erase_user(erasure_id, begin), Done)
    assert _logins(world) == ["ada", "bob"]


def test_it_waits_for_what_is_under_way(world: World) -> None:
    """A login on its way, one that is asked about again, and a mail; nothing is deleted by halves."""
    workflow_id = world.saved().workflow_id
    _end(world)
    world.rows("UPDATE workflow SET state = 'accepted'")
    erasure_id, begin = _ask(world), erasures(world.connect)
    first = erase_user(erasure_id, begin)
    assert isinstance(first, Failed)
    assert isinstance(first.error, Unavailable)
    assert isinstance(erase_exports(erasure_id, begin), Failed)
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


ON = "INSERT INTO switch (tenant_id, user_id, name, is_on) VALUES ('shop', 'ada', %s, %s)"
EVENTS = "SELECT user_id, type, data - 'changed_at' FROM application_event"


def _erased(world: World, begin: BeginErasure) -> UUID:
    """An erasure up to the last look, of a user whose account was locked."""
    world.saved()
    _end(world)
    world.rows(ON, "locked", True)
    world.rows(ON, "require_step_up", False)
    erasure_id = _ask(world)
    for step in (erase_exports, erase_user):
        assert isinstance(step(erasure_id, begin), Done)
    assert isinstance(forget_user(erasure_id, begin, Api()), Done)
    return erasure_id


def test_the_application_hears_that_a_switch_went_with_its_user(world: World) -> None:
    """Once the rows are gone, of what was on; nothing is certified before it has, and then nothing of it is left."""
    world.give_webhook("https://shop.example/hook")
    begin, letters = erasures(world.connect), Letters()
    erasure_id = _erased(world, begin)
    said = {"switch": "locked", "is_on": False, "by": "erasure"}
    assert world.rows(EVENTS) == [("ada", "switch.changed", said)]
    assert "yet to hear" in _error(certify_erasure(erasure_id, begin, letters.take_out))
    # Whoever asks again meanwhile is told of this one, and a step that is repeated tells nothing twice.
    assert _begin(world) == erasure_id
    assert isinstance(erase_user(erasure_id, begin), Done)
    assert world.rows(EVENTS) == [("ada", "switch.changed", said)]

    world.rows("UPDATE application_event SET state = 'sent', ended_at = now()")
    assert isinstance(certify_erasure(erasure_id, begin, letters.take_out), Done)
    assert world.rows(EVENTS) == []
    [(certificate,)] = world.rows("SELECT certificate FROM erasure")
    places = {it["place"]: (it["deleted"], it["left"]) for it in certificate["places"]}
    assert (places["switch"], places["application_event"]) == ((2, 0), (1, 0))


def test_an_application_that_is_away_is_not_waited_for_long(world: World) -> None:
    """Half a minute after the rows its event goes untold; one that was given up at once."""
    world.give_webhook("https://shop.example/hook")
    begin, letters = erasures(world.connect), Letters()
    erasure_id = _erased(world, begin)
    world.rows(
        "UPDATE application_event SET recorded_at = now() - make_interval(secs => %s)",
        TOLD_SECONDS - 5,
    )
    assert "yet to hear" in _error(certify_erasure(erasure_id, begin, letters.take_out))
    world.rows(
        "UPDATE application_event SET recorded_at = now() - make_interval(secs => %s)",
        TOLD_SECONDS + 1,
    )
    assert isinstance(certify_erasure(erasure_id, begin, letters.take_out), Done)
    assert world.rows(EVENTS) == []


def test_what_an_erasure_of_before_has_not_told_the_next_one_tells(world: World) -> None:
    """The user came back meanwhile: a new erasure, and the application still hears of the switch, once."""
    world.give_webhook("https://shop.example/hook")
    begin, letters = erasures(world.connect), Letters()
    first = _erased(world, begin)
    world.saved()
    _end(world)
    second = _ask(world)
    assert second != first
    assert isinstance(erase_user(second, begin), Done)
    assert [data["switch"] for _, _, data in world.rows(EVENTS)] == ["locked"]
    assert isinstance(forget_user(second, begin, Api(0)), Done)
    world.rows("UPDATE application_event SET state = 'given_up', ended_at = now()")
    assert isinstance(certify_erasure(second, begin, letters.take_out), Done)
    assert world.rows(EVENTS) == []


@pytest.mark.parametrize("events", [None, "[]"])
def test_an_application_that_hears_of_no_switches_hears_of_none_here(
    world: World, events: str | None
) -> None:
    """Without a webhook, or by its policy."""
    if events:
        world.give_webhook("https://shop.example/hook")
        world.rows("UPDATE tenant SET policy = jsonb_build_object('events', %s::jsonb)", events)
    begin, letters = erasures(world.connect), Letters()
    erasure_id = _erased(world, begin)
    assert world.rows(EVENTS) == []
    assert isinstance(certify_erasure(erasure_id, begin, letters.take_out), Done)


def test_one_that_was_asked_for_again_does_nothing_any_more(world: World) -> None:
    """Its message may be replayed long after, when there is a new life to it."""
    world.saved()
    _end(world)
    old, begin, api, letters = _ask(world), erasures(world.connect), Api(), Letters()
    world.rows("UPDATE erasure SET user_id = NULL")
    assert isinstance(erase_exports(old, begin), Done)
    assert isinstance(erase_user(old, begin), Done)
    assert isinstance(forget_user(old, begin, api), Done)
    assert isinstance(certify_erasure(old, begin, letters.take_out), Done)
    assert (_logins(world), api.forgotten) == (["ada"], [])
    assert world.rows("SELECT certificate FROM erasure") == [(None,)]


def test_an_api_that_cannot_forget_is_named(world: World) -> None:
    """In the certificate: it has to be asked by other means."""
    world.saved()
    _end(world)
    erasure_id, begin, letters = _ask(world), erasures(world.connect), Letters()
    erase_user(erasure_id, begin)
    forget_user(erasure_id, begin, Api(None))
    assert isinstance(certify_erasure(erasure_id, begin, letters.take_out), Done)
    assert world.rows(
        "SELECT outlier_api, certificate -> 'outlier_api_left', certificate ->> 'outlier_api' FROM erasure"
    ) == [("does not offer it", None, "does not offer it")]


def test_an_api_that_has_more_is_asked_again(world: World) -> None:
    """Until its last answer is that it has nothing."""
    world.saved()
    _end(world)
    erasure_id, begin, api = _ask(world), erasures(world.connect), Api(2, 1, 1, 0)
    erase_user(erasure_id, begin)
    assert "still had 1 logins" in _error(forget_user(erasure_id, begin, api))
    assert world.rows("SELECT forgotten_at FROM erasure") == [(None,)]
    assert isinstance(forget_user(erasure_id, begin, api), Done)
    assert api.answers == []


def test_an_erasure_of_the_version_before_ends_without_a_certificate(world: World) -> None:
    """It has no workflow, and no step that would certify it: the API's answer is its end."""
    world.rows(
        "INSERT INTO erasure (id, tenant_id, user_id, pseudonym, erased_at) VALUES (%s, 'shop', 'ada', 'p', now())",
        old := uuid4(),
    )
    assert isinstance(forget_user(old, erasures(world.connect), Api()), Done)
    assert world.rows("SELECT user_id, certificate FROM erasure") == [(None, None)]


@pytest.mark.parametrize(
    ("table", "planted"),
    [
        ("unsubscribed", "INSERT INTO unsubscribed (tenant_id, user_id) VALUES ('shop', 'ada')"),
        (
            "workflow",
            "INSERT INTO workflow (id, tenant_id, name, user_id) VALUES (gen_random_uuid(), 'shop', 'login', 'ada')",
        ),
        (
            "dead letters",
            """INSERT INTO step (id, state, message) VALUES
            ('left', 'dead', '{"headers": {"kwargsrepr": "{''workflow'': ''w'', ''user'': ''p-ada''}"}}')""",
        ),
    ],
)
def test_nothing_is_certified_while_something_is_left(
    world: World, table: str, planted: str
) -> None:
    """By the user's id and by the pseudonym; what is left is named, and once it has gone there is a certificate."""
    world.saved()
    _end(world)
    erasure_id, begin, letters = _ask(world), erasures(world.connect), Letters()
    assert "Refused" in _error(certify_erasure(erasure_id, begin, letters.take_out))
    erase_user(erasure_id, begin)
    assert "Refused" in _error(certify_erasure(erasure_id, begin, letters.take_out))
    forget_user(erasure_id, begin, Api())
    world.rows(planted)
    refused = _error(certify_erasure(erasure_id, begin, letters.take_out))
    assert refused.startswith(f"Unavailable: something is left ({table} 1)")
    assert world.rows("SELECT user_id, certificate FROM erasure") == [("ada", None)]
    for name in ("unsubscribed", "step", "workflow"):
        of_user = "" if name == "step" else " WHERE user_id = 'ada'"
        world.rows(f"DELETE FROM {name}{of_user}")
    assert isinstance(certify_erasure(erasure_id, begin, letters.take_out), Done)


def test_dead_letters_are_taken_out_also_those_that_come_late(world: World) -> None:
    """The broker hands a letter over a moment after its step was given up: the next look takes it out."""
    workflow_id = world.saved().workflow_id
    _end(world)
    for step, state, dropped in (
        ("a", "dead", None),
        ("b", "failed", None),
        ("c", "done", None),
        ("d", "dead", "2026-01-01"),
    ):
        world.rows(
            "INSERT INTO step (id, workflow_id, queue, state, dropped_at) VALUES (%s, %s, 'db_writes', %s, %s)",
            *(step, workflow_id, state, dropped),
        )
    erasure_id, begin, letters = _ask(world), erasures(world.connect), Letters("a", "x")
    erase_user(erasure_id, begin)
    assert isinstance(clear_letters(erasure_id, begin, letters.take_out), Done)
    assert letters.ids == {"x"}
    forget_user(erasure_id, begin, Api())
    letters.ids.add("b")
    assert "came late" in _error(certify_erasure(erasure_id, begin, letters.take_out))
    assert isinstance(certify_erasure(erasure_id, begin, letters.take_out), Done)
    assert letters.ids == {"x"}
    assert world.rows("SELECT certificate -> 'dead_letters' FROM erasure") == [
        ({"deleted": 2, "left": 0},)
    ]
    assert world.rows("SELECT count(*) FROM erasure_letter") == [(0,)]


def test_a_broker_that_is_away_is_waited_for(world: World) -> None:
    """Nothing of it is taken for done."""
    workflow_id = world.saved().workflow_id
    _end(world)
    world.rows(
        "INSERT INTO step (id, workflow_id, queue, state) VALUES ('a', %s, 'db_writes', 'dead')",
        workflow_id,
    )
    erasure_id, begin = _ask(world), erasures(world.connect)
    erase_user(erasure_id, begin)

    def away(steps: Mapping[str, Sequence[str]]) -> int:
        raise Unavailable(f"no broker for {steps}")

    def forbidden(steps: Mapping[str, Sequence[str]]) -> int:
        raise Refused(f"may not read {steps}")

    assert "no broker for {'db_writes': ['a']}" in _error(clear_letters(erasure_id, begin, away))
    assert "may not read" in _error(clear_letters(erasure_id, begin, forbidden))
    assert "no broker" in _error(certify_erasure(erasure_id, begin, away))


def test_of_one_user_one_erasure_is_under_way(world: World) -> None:
    """Until the user is there again; who was never known is nobody, who was erased can be erased again."""
    assert _begin(world) is None
    world.saved()
    _end(world)
    begin = erasures(world.connect)
    first = _ask(world)
    assert _begin(world) == first
    erase_user(first, begin)
    assert _begin(world) == first
    world.saved()
    _end(world)
    second = _ask(world)
    assert second != first
    assert world.rows("SELECT id FROM erasure WHERE user_id IS NOT NULL") == [(second,)]
    for step in (erase_user, lambda *these: forget_user(*these, Api())):
        assert isinstance(step(second, begin), Done)
    assert isinstance(certify_erasure(second, begin, Letters().take_out), Done)
    third = _ask(world)
    assert third not in (first, second)
    actors: list[Any] = world.rows("SELECT command, subject, actor FROM operator_action")
    assert actors == [("users erase", "p-ada of shop", "me@desk")] * 3
    assert world.rows("SELECT DISTINCT user_id FROM workflow WHERE name = 'erasure'") == [(None,)]


def test_one_that_was_given_up_is_taken_over(world: World) -> None:
    """Its dead letters, and those that it knew of, are the next one's; nobody is asked about its steps any more."""
    workflow_id = world.saved().workflow_id
    _end(world)
    world.rows(
        "INSERT INTO step (id, workflow_id, queue, state) VALUES ('a', %s, 'db_writes', 'dead')",
        workflow_id,
    )
    first, begin, letters = _ask(world), erasures(world.connect), Letters("a")
    erase_user(first, begin)
    world.rows("UPDATE workflow SET state = 'dead' WHERE id = %s", first)
    [(given_up,)] = world.rows(
        "UPDATE step SET state = 'dead' WHERE workflow_id = %s RETURNING id", first
    )
    letters.ids.add(given_up)
    second = _ask(world)
    assert second != first
    assert isinstance(clear_letters(second, begin, letters.take_out), Done)
    assert letters.ids == set()
    assert world.rows("SELECT dropped_at IS NOT NULL FROM step WHERE id = %s", given_up) == [
        (True,)
    ]
