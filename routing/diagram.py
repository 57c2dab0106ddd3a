"""The topology as a diagram for people."""

from __future__ import annotations

from collections.abc import Iterable

from routing.topology import CELERY_TASKS, Queue, Topology, dead_queue_name

_STYLES = {"batch": "lists of up to {}", "io": "{} at once"}


def diagram(topology: Topology) -> str:
    """Return a Mermaid flowchart: who sends where, which pool does the work, where it ends when it cannot."""
    senders = [user for user in topology.users.values() if user.sends and not user.replays]
    replayers = [user for user in topology.users.values() if user.replays]
    dead = "<br/>".join(dead_queue_name(name) for name in topology.queues)
    lines = [
        "flowchart LR",
        *(f"  {user.name}([{user.name}]) --> {_all_of(user.sends)}" for user in senders),
        *(_node(topology, queue) for queue in topology.queues.values()),
        *(
            f"  {name} --> {_all_of(targets)}"
            for name in topology.queues
            if (targets := _targets(topology, name))
        ),
        f"  {_all_of(topology.queues)} -. given up .-> dead[({dead})]",
        *(f"  dead -. replay .-> {user.name}([{user.name}])" for user in replayers),
    ]
    return "\n".join(lines) + "\n"


def _node(topology: Topology, queue: Queue) -> str:
    pool = topology.pools[queue.pool]
    style = _STYLES[pool.style].format(pool.concurrency)
    return f'  {queue.name}["queue {queue.name}<br/>pool {pool.name}: {style}"]'


def _all_of(names: Iterable[str]) -> str:
    return " & ".join(names)


def _targets(topology: Topology, queue: str) -> list[str]:
    routes = [r for r in topology.tasks.values() if r.queue == queue and r.task != CELERY_TASKS]
    sent = {target for route in routes for target in route.sends}
    return [name for name in topology.queues if name in sent and name != queue]
