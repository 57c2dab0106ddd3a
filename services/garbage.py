"""Spares the garbage collector what lives as long as the process."""

from __future__ import annotations

import gc

_ALLOCATIONS = 20_000
"""Between two looks at what is young: a list of steps allocates some thousands, most of which are gone at its end."""


def settle_down() -> None:
    """Call once everything is imported and made: what is there by now is never looked at again.

    Collections stay on, for what refers to itself: tracebacks and their frames. Source: Python's `gc`.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, 10, 10)
