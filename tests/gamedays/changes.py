"""Changes of a checkout that pages about operations leave to whoever follows them, as somebody would write them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.recipes import recipe

_TOPOLOGY = "routing/topology.yml"
_LIMITS = "delivery_limit: 100, max_length: 1000000}\n"


def copy_of(root: Path, directory: Path) -> Path:
    """A clone of a checkout with what is not committed yet; returns its folder."""
    copy = directory / "doorbell"
    subprocess.run(["git", "clone", "--quiet", str(root), str(copy)], check=True)
    changed = subprocess.run(
        ["git", "diff", "HEAD", "--binary"], check=True, cwd=root, stdout=subprocess.PIPE
    ).stdout
    if changed:
        subprocess.run(["git", "apply"], check=True, cwd=copy, input=changed)
    return copy


def add_queue(tree: Path) -> None:
    """Logins without a score are recorded from a queue of their own."""
    _edit(
        tree / _TOPOLOGY,
        ("\nqueues:\n", "\nqueues:\n  unscored: {pool: db_writes, " + _LIMITS),
        (
            "db_writes.record_unscored:       {queue: db_writes,",
            "db_writes.record_unscored:       {queue: unscored,",
        ),
        (
            "{queue: external_api,  retry: api,      sends: [db_writes, ",
            "{queue: external_api,  retry: api,      sends: [unscored, db_writes, ",
        ),
        (
            "sends: [external_api, maintenance, db_writes]",
            "sends: [unscored, external_api, maintenance, db_writes]",
        ),
        (
            "sends: [notifications, external_api, db_writes",
            "sends: [unscored, notifications, external_api, db_writes",
        ),
    )


def stop_using_queue(tree: Path) -> None:
    """Logins without a score go to their pool's queue again, and nothing is sent to the one of their own."""
    _edit(
        tree / _TOPOLOGY,
        (
            "db_writes.record_unscored:       {queue: unscored,",
            "db_writes.record_unscored:       {queue: db_writes,",
        ),
    )


def take_queue_away(tree: Path) -> None:
    """The queue is in no line of the topology."""
    _edit(
        tree / _TOPOLOGY,
        ("  unscored: {pool: db_writes, " + _LIMITS, ""),
        ("[unscored, ", "["),
    )


def change_arguments(tree: Path) -> None:
    """The broker itself gives messages of one queue up a little earlier."""
    _edit(
        tree / _TOPOLOGY,
        (
            "db_writes:     {pool: db_writes,     delivery_limit: 100,",
            "db_writes:     {pool: db_writes,     delivery_limit: 90,",
        ),
    )


def add_pool(tree: Path) -> None:
    """A pool with a queue and a task, which only the canary and probes visit, as CONTRIBUTING's recipe has it."""
    recipe("A pool").change(tree)


def _edit(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in changes:
        assert old in text, f"{path.name} has no {old!r}"
        text = text.replace(old, new)
    path.write_text(text)
