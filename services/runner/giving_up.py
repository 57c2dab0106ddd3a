"""Why a step is given up: errors that the runner itself raises, and the ledger's one word for any error."""

from __future__ import annotations

from typing import ClassVar

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery.exceptions import NotRegistered, TaskRevokedError

from services.domain.errors import Refused, Unavailable


class Untraceable(Exception):
    """The step fails without being run: Celery's tracer could do nothing with it, or must not.

    `reason` is the ledger's word for it; `celery_error`, if any, is the class
    by which Celery's users know it: results are stored as such.
    """

    reason: ClassVar[str] = "unreadable"
    celery_error: ClassVar[type[Exception] | None] = None

    def for_celery(self) -> Exception:
        """The error as a result's reader gets it."""
        return self.celery_error(str(self)) if self.celery_error else self


class KilledTooOften(Untraceable):
    """The step was started again and again, and its process died each time."""

    reason = "killed"
    celery_error = WorkerLostError


class PastHardLimit(Untraceable):
    """The step was alone at work when its process passed the hard limit and was ended."""

    reason = "timeout"
    celery_error = TimeLimitExceeded


class UnknownTask(Untraceable):
    """This worker has no such task: consumers are deployed before producers."""

    reason = "unknown_task"
    celery_error = NotRegistered


class TooLarge(Untraceable):
    """The message is larger than any publisher of ours sends."""

    reason = "too_large"


class Ignored(Untraceable):
    """The task raised Ignore or Reject, which in a canvas would stop all the rest without a word."""

    reason = "ignored"


class Withdrawn(Untraceable):
    """The step was revoked."""

    reason = "revoked"
    celery_error = TaskRevokedError


class Expired(Withdrawn):
    """The step's `expires` has passed."""

    reason = "expired"


class Forgotten(Untraceable):
    """The ledger was put back to a moment before the step was planned; the message alone knows of it."""

    reason = "forgotten"


class Dropped(Withdrawn):
    """An operator has paused the task, and wants no steps of it kept."""

    reason = "dropped"


class Unparkable(Untraceable):
    """The task is paused, and the ledger cannot hold this message; the dead-letter queue can."""

    reason = "unparkable"


def state_of(error: BaseException) -> str:
    """What a step becomes that ends with `error`: `failed` when the work is wrong or unwanted, else `dead`."""
    return "failed" if isinstance(error, Refused | Withdrawn) else "dead"


def reason_of(error: BaseException) -> str:
    """The ledger's word for `error`; operators choose dead letters by it."""
    if isinstance(error, Untraceable):
        return error.reason
    if isinstance(error, Refused):
        return "refused"
    return "unavailable" if isinstance(error, Unavailable) else "bug"
