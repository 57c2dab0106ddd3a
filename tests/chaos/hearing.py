"""What the application of a run hears of: all that it can, for the oracle misses what it is not told."""

from __future__ import annotations

import json
from dataclasses import replace

from services.domain.policy import DEFAULT, EVENTS

_LOCKS = replace(DEFAULT, lock_from=0)

LOCKS = json.dumps(_LOCKS.to_document())
"""A policy as it is stored, by which any verdict may lock, whoever its user is; the usual one otherwise."""
ALL_EVENTS = json.dumps(replace(_LOCKS, events=frozenset(EVENTS)).to_document())
"""As LOCKS, and the application hears of all."""
