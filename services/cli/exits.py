"""What the command's exit codes mean."""

from __future__ import annotations

from services.domain.errors import Refused

OK, REFUSED, MISUSED, UNAVAILABLE, NOT_FOUND, INTERRUPTED = 0, 1, 2, 3, 4, 130


class NotFound(Refused):
    """There is nothing of that name."""
