"""Prometheus' rules for each queue, and for what is given up in all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from routing.topology import PROBE_TASK, Pool, Queue, Topology, dead_queue_name

Rule = dict[str, Any]

CLEAR_SECONDS = 300
"""A queue that needs longer to empty makes users wait for longer than a mail is expected to take."""

_MARGIN_SECONDS = 30
"""Behind a pool's hard limit, at which even the longest step has ended, or its process has."""

_STILL_SECONDS = 20
"""Four looks of Prometheus at a queue; that nothing moves in them is seen, and then has to last."""

RUNBOOKS = '{{ or $externalLabels.runbooks "deploy/runbooks" }}'
DASHBOARDS = "{{ $externalLabels.dashboards }}"
"""Where people read them differs from place to place: Prometheus has it from its environment."""

_GIVEN_UP = 20
"""Steps given up within five minutes that are no longer one user's or one receiver's trouble."""


def alert_rules(topology: Topology) -> str:
    """Return the rule file: a set of rules for each queue of the topology."""
    groups = [{"name": "queues", "rules": rules(topology)}]
    return as_yaml({"groups": groups}, source="routing/alerts.py")


def rules(topology: Topology) -> list[Rule]:
    """Return the rules as values."""
    of_queues = [rule for queue in topology.queues.values() for rule in _rules(topology, queue)]
    return [*of_queues, _work_given_up(topology)]


def as_yaml(value: Mapping[str, Any], source: str) -> str:
    """Return a file for Prometheus or promtool that says where it comes from."""
    head = f"# Written by `python -m routing render` from routing/topology.yml; its words are in {source}.\n"
    return head + yaml.dump(dict(value), Dumper=_Dumper, sort_keys=False, width=200)


def _rules(topology: Topology, queue: Queue) -> Iterator[Rule]:
    pool = topology.pool(queue.pool)
    yield _clear_seconds(topology, queue)
    yield _without_consumer(topology, queue)
    yield _stands_still(topology, queue, pool)
    yield _will_not_clear(queue)
    yield _dead_letters(topology, queue)


def _clear_seconds(topology: Topology, queue: Queue) -> Rule:
    # A process of the pool takes from all the pool's queues, so they clear together.
    names = topology.queues_of(queue.pool)
    # What was accepted in a flood is not in its queue yet, and comes after what is.
    unplanned = f"sum(max by (queue) (doorbell_unplanned_logins{{{_any_of(names)}}}))"
    return {
        "record": "queue:doorbell_clear_seconds:rate2m",
        "expr": f"(sum(max by (queue) (rabbitmq_detailed_queue_messages{_of_queues(topology, names)}))\n"
        f"  + ({unplanned} or vector(0)))\n"
        f'  / sum(rate(doorbell_steps_total{{pool="{queue.pool}"}}[2m]))\n',
        "labels": {"queue": queue.name, "pool": queue.pool},
    }


def _without_consumer(topology: Topology, queue: Queue) -> Rule:
    return _alert(
        "QueueWithoutConsumer",
        queue,
        severity="page",
        # A process that starts while PostgreSQL is away takes no messages.
        needs="broker database",
        # A queue that is not there has no consumer either.
        expr=f"(max(rabbitmq_detailed_queue_consumers{_of(topology, queue.name)}) or vector(0)) == 0\n"
        f"{_unless_drained(queue)}",
        wait="1m",
        summary=f"Nobody consumes queue {queue.name}",
        description=f"Every process of pool {queue.pool} is gone or cut off. Logins are accepted, and what this queue"
        " does for them waits.",
    )


def _stands_still(topology: Topology, queue: Queue, pool: Pool) -> Rule:
    selector = _of(topology, queue.name)
    window = f"{_STILL_SECONDS}s"
    # The canary's probe calls nobody and locks nothing of users': it passes where their steps hang.
    steps = f'{{pool="{queue.pool}", task!="{PROBE_TASK}"}}'
    return _alert(
        "QueueStandsStill",
        queue,
        severity="page",
        needs="broker database",
        expr=f"max(min_over_time(rabbitmq_detailed_queue_messages{selector}[{window}])) > 0\n"
        f"and on () max(rabbitmq_detailed_queue_consumers{selector}) > 0\n"
        f"and on () (sum(increase(doorbell_steps_total{steps}[{window}])) or vector(0)) == 0\n",
        wait=f"{pool.hard_limit_seconds + _MARGIN_SECONDS - _STILL_SECONDS}s",
        summary=f"Queue {queue.name} holds {{{{ $value }}}} messages, has consumers, and none is done",
        description=f"The processes of pool {queue.pool} hold messages for longer than a step may take. What this"
        " queue does for logins waits.",
    )


def _will_not_clear(queue: Queue) -> Rule:
    return _alert(
        "QueueWillNotClear",
        queue,
        severity="ticket",
        needs="broker database",
        expr=f'queue:doorbell_clear_seconds:rate2m{{queue="{queue.name}"}} > {CLEAR_SECONDS}\n'
        f"{_unless_drained(queue)}",
        wait="2m",
        summary=f"Queue {queue.name} needs {{{{ $value | humanizeDuration }}}} to clear at its present pace",
        description=f"Pool {queue.pool} is slower than what arrives, or was. Verdicts and notices come late by about"
        " that time.",
    )


def _dead_letters(topology: Topology, queue: Queue) -> Rule:
    selector = _of(topology, dead_queue_name(queue.name))
    return _alert(
        "DeadLettersArriving",
        queue,
        severity="ticket",
        needs="broker",
        expr=f"max by (queue) (rabbitmq_detailed_queue_messages{selector})\n  - {_fewest(selector, '1h')} > 0\n",
        wait=None,
        summary=f"{{{{ $value }}}} steps of queue {queue.name} were given up within an hour",
        description="Each is one login whose work ended failed or dead. Nothing of it is tried again by itself; its"
        " message is kept.",
    )


def _work_given_up(topology: Topology) -> Rule:
    selector = _of_queues(topology, [dead_queue_name(name) for name in topology.queues])
    return _rule(
        "WorkGivenUp",
        {"severity": "page", "needs": "broker"},
        expr=f"sum(\n  max by (queue) (rabbitmq_detailed_queue_messages{selector})\n"
        f"    - {_fewest(selector, '5m')}\n) > {_GIVEN_UP}\n",
        wait=None,
        summary="{{ $value }} steps were given up within five minutes",
        description="Something is wrong for many logins at once: they end failed or dead, without verdict or notice,"
        " until it is mended and they are replayed.",
        dashboard="/d/doorbell-overview",
    )


def _alert(name: str, queue: Queue, *, severity: str, needs: str, **rest: Any) -> Rule:
    labels = {"severity": severity, "queue": queue.name, "pool": queue.pool, "needs": needs}
    return _rule(name, labels, dashboard=f"/d/doorbell-pool?var-pool={queue.pool}", **rest)


def _rule(
    name: str,
    labels: dict[str, str],
    *,
    expr: str,
    wait: str | None,
    summary: str,
    description: str,
    dashboard: str,
) -> Rule:
    return {
        "alert": name,
        "expr": expr,
        **({} if wait is None else {"for": wait}),
        "labels": labels,
        "annotations": {
            "summary": summary,
            "description": description,
            "runbook": f"{RUNBOOKS}/{name}.md",
            "dashboard": f"{DASHBOARDS}{dashboard}",
        },
    }


def _unless_drained(queue: Queue) -> str:
    # What an operator keeps from working is no news to them.
    return f'unless on () min(doorbell_draining{{pool="{queue.pool}"}}) == 1\n'


def _fewest(selector: str, window: str) -> str:
    # Of what was seen: a broker or a Prometheus that was away has not emptied the queue. Which node
    # shows a queue changes with its leader, so the nodes are joined at each moment.
    return f"min_over_time((max by (queue) (rabbitmq_detailed_queue_messages{selector}))[{window}:15s])"


def _of(topology: Topology, queue: str) -> str:
    return f'{{vhost="{topology.vhost}", queue="{queue}"}}'


def _of_queues(topology: Topology, queues: list[str] | tuple[str, ...]) -> str:
    return f'{{vhost="{topology.vhost}", {_any_of(queues)}}}'


def _any_of(queues: list[str] | tuple[str, ...]) -> str:
    # In a regular expression the dot of a dead-letter queue's name is a character class.
    names = "|".join(name.replace(".", "[.]") for name in queues)
    return f'queue=~"{names}"'


class _Dumper(yaml.SafeDumper):
    """Writes expressions of several lines as they are read, and every value where it is used."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
