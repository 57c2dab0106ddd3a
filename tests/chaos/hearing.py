"""What the application of a run hears of: all that it can, for the oracle misses what it is not told."""

from __future__ import annotations

import json
from dataclasses import replace

from services.domain.policy import DEFAULT, EVENTS

ALL_EVENTS = json.dumps(replace(DEFAULT, events=frozenset(EVENTS)).to_document())
"""A policy as it is stored, which is the usual one otherwise."""
