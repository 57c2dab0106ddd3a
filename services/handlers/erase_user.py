"""Makes a user forgotten: in one place after the other, up to the certificate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from services.domain.certificate import signed
from services.domain.errors import Refused, Unavailable
from services.domain.outcome import Done, Failed, Outcome

NOT_OFFERED = "does not offer it"
"""What is noted of an outlier API that cannot forget: it has to be asked by other means."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an erasure has done, and what a second look finds.

    erased, left: rows by table. dead_letters: the user's messages that were in dead-letter
    queues; dead_letters_left: those that the ledger still knows of. key: the tenant's.
    """

    tenant_id: str
    pseudonym: str
    asked_at: datetime
    asked_by: str | None
    erased_at: datetime | None
    erased: Mapping[str, int]
    left: Mapping[str, int]
    dead_letters: int
    dead_letters_left: int
    forgotten_at: datetime | None
    outlier_api: str | None
    looked_at: datetime
    key: UUID


class Erasures(Protocol):
    """What was asked for, inside one PostgreSQL transaction."""

    def user_of(self, erasure_id: UUID) -> tuple[str, str] | None:
        """Tenant and user that are to be forgotten; None: it is done, or was asked for again."""
        ...

    def erase_copies(self, erasure_id: UUID) -> None:
        """Delete what was exported for the user.

        Raises:
            Unavailable: something is still being done for the user.
        """
        ...

    def erase(self, erasure_id: UUID) -> None:
        """Delete all rows about the user, once, and remember which dead letters were theirs.

        One row comes instead for each switch that was on: the application is to hear that it is off.

        Raises:
            Unavailable: something is still being done for the user.
        """
        ...

    def letters(self, erasure_id: UUID) -> Mapping[str, Sequence[str]]:
        """The steps whose messages may be dead letters, by their queue."""
        ...

    def note_forgotten(self, erasure_id: UUID, answer: str) -> None:
        """The outlier API's answer, for the certificate."""
        ...

    def look_again(self, erasure_id: UUID) -> Evidence | None:
        """What is found at this moment; None: it is certified, or was asked for again.

        Raises:
            Unavailable: the application is yet to hear that switches are off, and not for long enough.
        """
        ...

    def certify(self, erasure_id: UUID, certificate: Mapping[str, Any]) -> None:
        """Keep the certificate; with it the erasure is done, and its user's id goes too.

        Raises:
            Unavailable: another process was at the same step.
        """
        ...


BeginErasure = Callable[[], AbstractContextManager[Erasures]]
"""Opens a short transaction: commits at the end of the block, rolls back on an error."""

TakeOut = Callable[[Mapping[str, Sequence[str]]], int]
"""Takes messages of these steps, by their queue, out of the dead-letter queues: how many were there.

Raises `Unavailable` when the broker does not answer.
"""


class Forgets(Protocol):
    """The part of the outlier API that not every one offers."""

    def forget(self, tenant_id: str, user_id: str) -> int | None:
        """Forget what was learned of a user: of how many logins; None: this API does not offer it.

        Raises:
            Unavailable: no usable answer within the deadline.
            Refused: the API says that the request is wrong.
        """
        ...


def erase_exports(erasure_id: UUID, begin: BeginErasure) -> Outcome:
    """Delete what was exported for the user, which can be large, apart from the rest. Idempotent."""
    try:
        with begin() as erasures:
            erasures.erase_copies(erasure_id)
    except Unavailable as error:
        return Failed(error)
    return _done(erasure_id)


def erase_user(erasure_id: UUID, begin: BeginErasure) -> Outcome:
    """Delete all rows about the user in one transaction. Idempotent."""
    try:
        with begin() as erasures:
            erasures.erase(erasure_id)
    except Unavailable as error:
        return Failed(error)
    return _done(erasure_id)


def clear_letters(erasure_id: UUID, begin: BeginErasure, take_out: TakeOut) -> Outcome:
    """Take the user's messages out of the dead-letter queues; no transaction is open meanwhile. Idempotent."""
    try:
        _take_out(erasure_id, begin, take_out)
    except (Unavailable, Refused) as error:
        return Failed(error)
    return _done(erasure_id)


def forget_user(erasure_id: UUID, begin: BeginErasure, api: Forgets) -> Outcome:
    """Have the outlier API forget the user; no transaction is open during the call. Idempotent.

    After the rows are gone: no login of before can be judged, and learned from, any more. The API's last answer is
    that it has nothing more to forget.
    """
    with begin() as erasures:
        user = erasures.user_of(erasure_id)
    if user is None:
        return _done(erasure_id)
    try:
        logins = api.forget(*user)
        if logins and (left := api.forget(*user)):
            return Failed(Unavailable(f"asked again, the outlier API still had {left} logins"))
    except (Unavailable, Refused) as error:
        return Failed(error)
    answer = NOT_OFFERED if logins is None else f"forgot {logins} logins"
    with begin() as erasures:
        erasures.note_forgotten(erasure_id, answer)
    return _done(erasure_id)


def certify_erasure(erasure_id: UUID, begin: BeginErasure, take_out: TakeOut) -> Outcome:
    """Look into every place again, and certify that nothing is left. Idempotent.

    A dead letter that came late is taken out here, and not certified before the next look.
    """
    try:
        if late := _take_out(erasure_id, begin, take_out):
            return Failed(Unavailable(f"dead letters came late, which are gone now: {late}"))
        with begin() as erasures:
            evidence = erasures.look_again(erasure_id)
            if evidence is not None:
                _refuse_remains(evidence)
                certificate = signed(evidence.key, _facts(erasure_id, evidence))
                erasures.certify(erasure_id, certificate)
    except (Unavailable, Refused) as error:
        return Failed(error)
    return _done(erasure_id)


def _take_out(erasure_id: UUID, begin: BeginErasure, take_out: TakeOut) -> int:
    with begin() as erasures:
        letters = erasures.letters(erasure_id)
    return take_out(letters) if letters else 0


def _refuse_remains(evidence: Evidence) -> None:
    if evidence.erased_at is None or evidence.forgotten_at is None:
        raise Refused("not every place was asked yet: have the user erased again")
    left = {**evidence.left, "dead letters": evidence.dead_letters_left}
    if remains := ", ".join(f"{name} {count}" for name, count in left.items() if count):
        raise Unavailable(
            f"something is left ({remains}), such as of a login since: have the user erased again"
        )


def _facts(erasure_id: UUID, evidence: Evidence) -> dict[str, Any]:
    return {
        "erasure_id": str(erasure_id),
        "tenant": evidence.tenant_id,
        "pseudonym": evidence.pseudonym,
        "asked_at": _moment(evidence.asked_at),
        "asked_by": evidence.asked_by,
        "erased_at": _moment(evidence.erased_at),
        "forgotten_at": _moment(evidence.forgotten_at),
        "certified_at": _moment(evidence.looked_at),
        "places": [
            {"place": table, "deleted": evidence.erased.get(table, 0), "left": count}
            for table, count in evidence.left.items()
        ],
        "dead_letters": {"deleted": evidence.dead_letters, "left": evidence.dead_letters_left},
        "outlier_api": evidence.outlier_api,
        "outlier_api_left": None if evidence.outlier_api == NOT_OFFERED else 0,
    }


def _moment(time: datetime | None) -> str | None:
    return time.isoformat() if time else None


def _done(erasure_id: UUID) -> Done:
    return Done({"erasure_id": str(erasure_id)})
