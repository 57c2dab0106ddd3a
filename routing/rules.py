"""What the parts of a topology must be to each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from routing.topology import CELERY_TASKS, Pool, Topology
from services.domain.errors import ConfigurationError

Lines = Mapping[tuple[str, ...], int]
"""The line of each section, and of each (section, name)."""
Note = Callable[[int, str], None]


def check(topology: Topology, lines: Lines, note: Note) -> None:
    """Note every rule that the topology breaks, with its line."""
    for pool in topology.pools.values():
        _check_pool(pool, lines["pools", pool.name], note)
    for retry in topology.retries.values():
        if retry.cap_seconds < retry.base_seconds:
            note(
                lines["retries", retry.name],
                f"retry {retry.name}: cap_seconds ({retry.cap_seconds:g}) is below base_seconds "
                f"({retry.base_seconds:g}): raise it",
            )
    _check_pools_have_queues(topology, lines, note)
    if "tasks" in {section for section, *_ in lines} and ("tasks", CELERY_TASKS) not in lines:
        note(
            lines["tasks",], f"tasks lacks {CELERY_TASKS}: say which queue takes Celery's own tasks"
        )
    for name in topology.users:
        if ("pools", name) in lines:
            note(
                lines["users", name],
                f"user {name} has the name of a pool: each pool has a user already, rename this one",
            )
        if name == "guest":
            note(
                lines["users", name],
                "user guest is RabbitMQ's default account: choose another name",
            )


def check_tasks(topology: Topology, registered: Iterable[str]) -> None:
    """Check that each registered task has a route and each route a task.

    Raises:
        ConfigurationError: one line for every task or route that is left over.
    """
    names = set(registered)
    problems = [
        f"{topology.source}: task {name} has no route: add it under tasks with its queue"
        for name in sorted(names)
        if topology.find_route(name) is None
    ]
    problems += [
        f"{topology.source}:{route.line}: the route of {route.task} leads to no registered task: "
        "define the task or take the route out"
        for route in topology.tasks.values()
        if route.task != CELERY_TASKS and route.task not in names
    ]
    if problems:
        raise ConfigurationError("\n".join(problems))


def _check_pool(pool: Pool, line: int, note: Note) -> None:
    if pool.soft_limit_seconds >= pool.hard_limit_seconds:
        note(
            line,
            f"pool {pool.name}: soft_limit_seconds ({pool.soft_limit_seconds}) is not below "
            f"hard_limit_seconds ({pool.hard_limit_seconds}): a task needs time to end by itself",
        )
    longest = max(pool.soft_limit_seconds, pool.hard_limit_seconds)
    if pool.grace_seconds <= longest:
        note(
            line,
            f"pool {pool.name}: grace_seconds ({pool.grace_seconds}) is not above its longest limit "
            f"({longest}): a stopping worker would be killed at work, raise it",
        )


def _check_pools_have_queues(topology: Topology, lines: Lines, note: Note) -> None:
    broken = any(key[0] == "queues" and key[1:] and key[1] not in topology.queues for key in lines)
    if broken:
        return
    for name in topology.pools:
        if not topology.queues_of(name):
            note(
                lines["pools", name],
                f"pool {name} has no queue: give it one under queues, or take the pool out",
            )
