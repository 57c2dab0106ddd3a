"""The one tree of errors: what went wrong decides whether a step is tried again."""

from __future__ import annotations


class DoorbellError(Exception):
    """Something Doorbell expected might go wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").split("\n")[0])


class Refused(DoorbellError):
    """The work is wrong or no longer wanted; trying again cannot help. The step becomes `failed`."""


class Unavailable(DoorbellError):
    """Something outside did not answer; the step is tried again by its retry policy."""


class Conflict(DoorbellError):
    """The effect is already there; the step counts as done."""


class ConfigurationError(DoorbellError):
    """The settings or the topology are wrong; the process does not start."""


class MessageTooLarge(Refused):
    """The message is larger than the publisher accepts; pass ids instead of values."""
