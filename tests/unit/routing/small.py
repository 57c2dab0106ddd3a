"""A topology of a test's own: what is asserted of it stays true when Doorbell's gets another queue."""

from __future__ import annotations

from pathlib import Path

from routing.load import load
from routing.topology import Topology

GOOD = """\
version: 1
vhost: house
exchanges: {work: house, dead: house.dead}
delays: {levels: 28, prefix: celery_delayed}
pools:
  bells: {style: batch, concurrency: 10, soft_limit_seconds: 2, hard_limit_seconds: 3, grace_seconds: 4, secrets: []}
  doors: {style: io, concurrency: 1, soft_limit_seconds: 2, hard_limit_seconds: 3, grace_seconds: 4, secrets: []}
queues:
  bells: {pool: bells, delivery_limit: 20, max_length: 1000}
  doors: {pool: doors, delivery_limit: 20, max_length: 1000}
retries:
  soon: {limit: 0, base_seconds: 0.5, cap_seconds: 60}
tasks:
  bells.ring: {queue: bells, retry: soon, sends: [doors]}
  celery.*: {queue: doors, retry: soon, sends: []}
users:
  gateway: {sends: [bells], observes: false, replays: false, tag: none}
"""


def load_text(folder: Path, text: str) -> Topology:
    """Write a topology there, then read it."""
    path = folder / "topology.yml"
    path.write_text(text, encoding="utf-8")
    return load(path)
