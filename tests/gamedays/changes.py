"""Changes of a checkout that pages about operations leave to whoever follows them, as somebody would write them."""

from __future__ import annotations

import subprocess
from pathlib import Path

_TOPOLOGY = "routing/topology.yml"
_LIMITS = "delivery_limit: 100, max_length: 1000000}\n"
_POOL = '''"""The pool that notes what is to be kept."""

from __future__ import annotations

from collections.abc import Sequence

from services.domain.outcome import Done, Outcome
from services.handlers.ports import Transaction
from services.pools.wiring import Wiring
from services.runner.task import Steps


def register(steps: Steps, _: Wiring) -> None:
    """Declare the pool's steps."""

    @steps.batch("archive.note")
    def note(words: Sequence[str], tx: Transaction) -> Sequence[Outcome]:
        """Note a word."""
        return [Done({"word": word}) for word in words]
'''


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
    """A pool with a queue and a task, which only the canary and probes visit, everywhere where pools are named."""
    limits = (
        "soft_limit_seconds: 20\n    hard_limit_seconds: 30\n    grace_seconds: 45\n"
        "    secrets: []\n"
    )
    _edit(
        tree / _TOPOLOGY,
        (
            "\npools:\n",
            f"\npools:\n  archive:\n    style: batch\n    concurrency: 100\n    {limits}",
        ),
        ("\nqueues:\n", "\nqueues:\n  archive: {pool: archive, " + _LIMITS),
        ("\ntasks:\n", "\ntasks:\n  archive.note: {queue: archive, retry: database, sends: []}\n"),
    )
    (tree / "services/pools/archive.py").write_text(_POOL)
    hosts = "        pool_device_checks:\n          hosts:"
    _edit(
        tree / "ansible/inventories/production/hosts.yml",
        (
            hosts,
            f"        pool_archive:\n          hosts:\n            archive1: {{ansible_host: 198.51.100.51}}\n{hosts}",
        ),
    )
    _edit(
        tree / "ansible/inventories/staging/hosts.yml",
        (
            "        pool_notifications:\n",
            "        pool_archive:\n          hosts: *workers\n        pool_notifications:\n",
        ),
    )


def _edit(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in changes:
        assert old in text, f"{path.name} has no {old!r}"
        text = text.replace(old, new)
    path.write_text(text)
