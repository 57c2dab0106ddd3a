"""Makes a user forgotten: by the database, then by the outlier API."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol
from uuid import UUID

from services.domain.errors import Refused, Unavailable
from services.domain.outcome import Done, Failed, Outcome


class Erasures(Protocol):
    """What operators have asked for, inside one PostgreSQL transaction."""

    def user_of(self, erasure_id: UUID) -> tuple[str, str] | None:
        """Tenant and user that are to be erased; None: it is done."""
        ...

    def erase(self, erasure_id: UUID) -> None:
        """Delete all rows about the user, once.

        Raises:
            Unavailable: something is still being done for the user.
        """
        ...

    def note_forgotten(self, erasure_id: UUID, answer: str) -> None:
        """The outlier API's answer, for who has asked; with it the erasure is done, and its user's id goes too."""
        ...


BeginErasure = Callable[[], AbstractContextManager[Erasures]]
"""Opens a short transaction: commits at the end of the block, rolls back on an error."""


class Forgets(Protocol):
    """The part of the outlier API that not every one offers."""

    def forget(self, tenant_id: str, user_id: str) -> int | None:
        """Forget what was learned of a user: of how many logins; None: this API does not offer it.

        Raises:
            Unavailable: no usable answer within the deadline.
            Refused: the API says that the request is wrong.
        """
        ...


def erase_user(erasure_id: UUID, begin: BeginErasure) -> Outcome:
    """Delete all rows about the user in one transaction. Idempotent."""
    try:
        with begin() as erasures:
            erasures.erase(erasure_id)
    except Unavailable as error:
        return Failed(error)
    return _done(erasure_id)


def forget_user(erasure_id: UUID, begin: BeginErasure, api: Forgets) -> Outcome:
    """Have the outlier API forget the user; no transaction is open during the call. Idempotent.

    After the rows are gone: no login of before can be judged, and learned from, any more.
    """
    with begin() as erasures:
        user = erasures.user_of(erasure_id)
    if user is None:
        return _done(erasure_id)
    try:
        logins = api.forget(*user)
    except (Unavailable, Refused) as error:
        return Failed(error)
    answer = "does not offer it" if logins is None else f"forgot {logins} logins"
    with begin() as erasures:
        erasures.note_forgotten(erasure_id, answer)
    return _done(erasure_id)


def _done(erasure_id: UUID) -> Done:
    return Done({"erasure_id": str(erasure_id)})
