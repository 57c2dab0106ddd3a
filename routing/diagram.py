"""The topology as a diagram for people."""

from __future__ import annotations

from routing.topology import CELERY_TASKS, Topology, dead_queue_name

_STYLES = {"batch": "lists of up to {}", "io": "{} at once"}


def diagram(topology: Topology) -> str:
    """Return a Mermaid flowchart: who sends where, which pool does the work, where it ends when it cannot."""
    lines = ["flowchart LR"]
    senders = [user for user in topology.users.values() if user.sends and not user.replays]
    for user in senders:
        lines.append(f"  {user.name}([{user.name}]) --> {' & '.join(user.sends)}")
    for queue in topology.queues.values():
        pool = topology.pools[queue.pool]
        style = _STYLES[pool.style].format(pool.concurrency)
        lines.append(f'  {queue.name}["queue {queue.name}<br/>pool {pool.name}: {style}"]')
    for queue in topology.queues.values():
        if targets := _targets(topology, queue.name):
            lines.append(f"  {queue.name} --> {' & '.join(targets)}")
    dead = "<br/>".join(dead_queue_name(name) for name in topology.queues)
    lines.append(f"  {' & '.join(topology.queues)} -. given up .-> dead[({dead})]")
    for user in topology.users.values():
        if user.replays:
            lines.append(f"  dead -. replay .-> {user.name}([{user.name}])")
    return "\n".join(lines) + "\n"


def _targets(topology: Topology, queue: str) -> list[str]:
    routes = [r for r in topology.tasks.values() if r.queue == queue and r.task != CELERY_TASKS]
    sent = {target for route in routes for target in route.sends}
    return [name for name in topology.queues if name in sent and name != queue]
