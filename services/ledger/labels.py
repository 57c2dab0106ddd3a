"""What monitors show of a step beside its arguments: whose workflow it belongs to.

A label stands in the header that Celery has for the text of keyword arguments
(`kwargsrepr`), which no step of a workflow has: Flower's search finds it, as
`kwargs:workflow=ID` and `kwargs:user=PSEUDONYM`. What a step sends inherits it.
One of a workflow that monitors are not to be shown says so, as the sampled flag
of W3C Trace Context does: each process then leaves out the same workflows.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

HEADER = "kwargsrepr"
NOBODY = 16 * "0"
"""In the place of a pseudonym: the workflow is about no single user."""

_NOTHING = "{}"
_PSEUDONYM_LENGTH = 16
_UNSHOWN = ", 'shown': False}"
_LABEL = re.compile(
    r"\{'workflow': '([0-9a-f-]{36})', 'user': '[0-9a-f]{16}'(?:, 'shown': False)?\}"
)


def pseudonym(key: UUID, user_id: str) -> str:
    """A user's name for monitors: 16 hexadecimal digits of an HMAC-SHA256 (RFC 2104).

    The same for every login of a user. Without `key`, which stands in the tenant's
    row alone, nobody tells by it who the user is, also not by trying.
    """
    return hmac.new(key.bytes, user_id.encode(), "sha256").hexdigest()[:_PSEUDONYM_LENGTH]


def label_of(workflow_id: UUID, user: str) -> str:
    """The label of a workflow's steps; `user` is a pseudonym."""
    return f"{{'workflow': '{workflow_id}', 'user': '{user}'}}"


def unshown(label: str) -> str:
    """The label of a workflow of which monitors shall hear bad news alone."""
    return label.removesuffix("}") + _UNSHOWN


def shown(label: str) -> str:
    """The label of a workflow that monitors shall hear all of from now on."""
    return label.removesuffix(_UNSHOWN) + "}" if label.endswith(_UNSHOWN) else label


def is_shown(label: object) -> bool | None:
    """Whether a label lets monitors hear of its step; None if it is no label."""
    if not isinstance(label, str) or not _LABEL.fullmatch(label):
        return None
    return not label.endswith(_UNSHOWN)


def search_of_workflow(workflow_id: UUID) -> str:
    """What finds a workflow's steps in Flower."""
    return f"kwargs:workflow={workflow_id}"


def search_of_user(user: str) -> str:
    """What finds all steps of a pseudonym's workflows in Flower."""
    return f"kwargs:user={user}"


def inherited(headers: Mapping[str, Any]) -> str | None:
    """The label that a message has, for those that its step sends; None without one."""
    value = headers.get(HEADER)
    return value if isinstance(value, str) and _LABEL.fullmatch(value) else None


def workflow_in(label: str | None) -> str | None:
    """The workflow that a label names."""
    found = _LABEL.fullmatch(label) if label is not None else None
    return found and found[1]


def attach(headers: dict[str, Any], label: str | None) -> None:
    """Give a new message a label, unless it has keyword arguments of its own to show."""
    if label is not None and headers.get(HEADER, _NOTHING) == _NOTHING:
        headers[HEADER] = label
