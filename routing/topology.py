"""The shape of the system as values: pools, their queues, what runs where and who may send what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from services.domain.errors import ConfigurationError

Style = Literal["batch", "io"]
Tag = Literal["none", "management"]

SECRETS = ("smtp_url", "outlier_api_key")
"""What a pool may be given besides its broker user and the database: a secret of the settings each."""

PROBE_TASK = "maintenance.probe"
"""The canary's step in each pool, and the reconciler's: done by the pool of whichever queue it is sent to."""

CELERY_TASKS = "celery.*"
"""The one pattern among the task names: Celery's own tasks."""


@dataclass(frozen=True, slots=True)
class Delays:
    """Celery's native delayed delivery: one queue for each power of two seconds."""

    levels: int
    prefix: str

    @property
    def entrance(self) -> str:
        """The exchange that takes a delayed message."""
        return self.level_name(self.levels - 1)

    @property
    def exit(self) -> str:
        """The exchange that a message reaches when its time has come."""
        return f"{self.prefix}_delivery"

    def level_name(self, level: int) -> str:
        """The name of both the exchange and the queue that hold back for 2**level seconds."""
        return f"{self.prefix}_{level}"


@dataclass(frozen=True, slots=True)
class Pool:
    """The worker processes of one kind of work.

    concurrency: messages one process holds at once; for a batch pool the largest list.
    grace_seconds: between the signal to stop and the kill.
    secrets: what its processes are given, and no others'.
    """

    name: str
    style: Style
    concurrency: int
    soft_limit_seconds: int
    hard_limit_seconds: int
    grace_seconds: int
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Queue:
    """Where a pool's messages wait; its name is also its routing key.

    delivery_limit: deliveries after which the broker dead-letters by itself.
    max_length: messages above which publishing is refused.
    """

    name: str
    pool: str
    delivery_limit: int
    max_length: int


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how soon a step is tried again; see `services.domain.retry.RetryPolicy`."""

    name: str
    limit: int
    base_seconds: float
    cap_seconds: float


@dataclass(frozen=True, slots=True)
class TaskRoute:
    """Where a task waits. `sends` are the queues that its commit may publish to."""

    task: str
    queue: str
    retry: str
    sends: tuple[str, ...]
    line: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class User:
    """A user of the broker that is no pool."""

    name: str
    sends: tuple[str, ...]
    observes: bool
    replays: bool
    tag: Tag


@dataclass(frozen=True, slots=True)
class Topology:
    """All of it, checked. `source` is the file it came from, for messages."""

    vhost: str
    work_exchange: str
    dead_exchange: str
    delays: Delays
    pools: Mapping[str, Pool]
    queues: Mapping[str, Queue]
    retries: Mapping[str, Retry]
    tasks: Mapping[str, TaskRoute]
    users: Mapping[str, User]
    source: str = field(compare=False)

    @property
    def default_queue(self) -> str:
        """Where Celery's own tasks go."""
        return self.tasks[CELERY_TASKS].queue

    def find_route(self, task: str) -> TaskRoute | None:
        """Return the route of a task: its own, else for `celery.…` the one of Celery's tasks."""
        if task in self.tasks:
            return self.tasks[task]
        return self.tasks[CELERY_TASKS] if task.startswith(CELERY_TASKS[:-1]) else None

    def route(self, task: str) -> TaskRoute:
        """Return the route of a task.

        Raises:
            ConfigurationError: there is none.
        """
        route = self.find_route(task)
        if route is None:
            raise ConfigurationError(
                f"{self.source}: task {task} has no route: add it under tasks with its queue"
            )
        return route

    def does(self, queue: str, task: str) -> bool:
        """Return whether the pool of `queue` does a task, so that it may wait there."""
        route = self.find_route(task)
        return route is not None and self.queues[route.queue].pool == self.queues[queue].pool

    def pool(self, name: str) -> Pool:
        """Return a pool.

        Raises:
            ConfigurationError: there is none of that name.
        """
        if name not in self.pools:
            raise ConfigurationError(
                f"{self.source}: there is no pool {name!r}: use one of {', '.join(self.pools)}"
            )
        return self.pools[name]

    def queues_of(self, pool: str) -> tuple[str, ...]:
        """Return the names of the queues that a pool consumes."""
        return tuple(queue.name for queue in self.queues.values() if queue.pool == pool)

    def sends_of(self, pool: str) -> tuple[str, ...]:
        """Return the queues a pool may publish to: what its tasks and probes send, and its own for retries."""
        own = self.queues_of(pool)
        done_here = (r for r in self.tasks.values() if r.queue in own or r.task == PROBE_TASK)
        wanted = set(own).union(*(route.sends for route in done_here))
        return tuple(name for name in self.queues if name in wanted)


def dead_queue_name(queue: str) -> str:
    """Return the name of the queue that keeps what `queue` gave up."""
    return f"{queue}.dead"
