"""Labels: whose workflow a step belongs to, for monitors that must not know who somebody is."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from services.ledger.labels import (
    attach,
    inherited,
    is_shown,
    label_of,
    pseudonym,
    shown,
    unshown,
    workflow_in,
)

WORKFLOW = UUID("2c9d4a57-6f0b-4f0e-9f5b-1f4d8d1e7a10")
LABEL = label_of(WORKFLOW, pseudonym(WORKFLOW, "ada"))


def test_a_pseudonym_is_the_users_own() -> None:
    """The same at each login; another for another user, and with another tenant's key."""
    key = WORKFLOW  # a random one's digits may spell the name
    assert pseudonym(key, "ada") == pseudonym(key, "ada")
    assert len({pseudonym(key, "ada"), pseudonym(key, "bob"), pseudonym(uuid4(), "ada")}) == 3
    assert "ada" not in pseudonym(key, "ada")


def test_what_a_step_sends_has_its_label() -> None:
    """Celery writes {} where there are no keyword arguments."""
    headers = {"kwargsrepr": "{}"}
    attach(headers, inherited({"kwargsrepr": LABEL}))
    assert headers["kwargsrepr"] == LABEL


def test_whether_it_is_shown_goes_with_it() -> None:
    """Each process reads the same from it."""
    assert is_shown(LABEL) is True
    assert is_shown(inherited({"kwargsrepr": unshown(LABEL)})) is False
    assert shown(unshown(LABEL)) == shown(LABEL) == LABEL
    assert workflow_in(unshown(LABEL)) == workflow_in(LABEL) == str(WORKFLOW)


@pytest.mark.parametrize("value", [None, 1, "{}", "{'shown': False}", f"{LABEL}, 'shown': False}}"])
def test_what_is_no_label_says_nothing(value: object) -> None:
    """Those are chosen otherwise."""
    assert is_shown(value) is None


def test_keyword_arguments_are_shown_rather_than_a_label() -> None:
    """A canvas sent by hand may have some."""
    headers = {"kwargsrepr": "{'x': 1}"}
    attach(headers, LABEL)
    assert headers == {"kwargsrepr": "{'x': 1}"}


@pytest.mark.parametrize(
    "value", [None, 1, "{}", "{'x': 1}", LABEL + "\n", LABEL[:-1], f" {LABEL}"]
)
def test_nothing_else_is_handed_on(value: object) -> None:
    """Whoever may publish writes what he likes into headers."""
    assert inherited({"kwargsrepr": value}) is None
    assert inherited({}) is None
