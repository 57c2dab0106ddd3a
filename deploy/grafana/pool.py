"""Pool: what one pool's processes do, chosen by the variable `pool`."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import CustomVariable, Dashboard

from deploy.grafana.panels import (
    BYTES,
    PER_SECOND,
    SECONDS,
    SHARE,
    Panel,
    lines,
    new_dashboard,
    number,
    quantile,
    rate,
)
from routing.topology import Topology

_POOL = '{pool="$pool"}'
_TO_CLEAR = "queue:doorbell_clear_seconds:rate2m"


def pool(topology: Topology) -> Dashboard:
    """One dashboard for each of the topology's pools; alerts open it with `?var-pool=`."""
    board = new_dashboard(
        "doorbell-pool",
        "Doorbell: pool",
        "What a pool's processes take, how it ends, and how long it takes.",
        {"Now": _now(topology), "Steps": _steps(), "Processes": _processes()},
    )
    return board.with_variable(
        CustomVariable("pool")
        .label("Pool")
        .description("A pool of routing/topology.yml")
        .values(",".join(topology.pools))
    )


def _now(topology: Topology) -> list[Panel]:
    return [
        number(
            "Waiting",
            "Messages in the pool's queues, those that its processes hold included.",
            f"sum(max by (queue) (rabbitmq_detailed_queue_messages) and on (queue) {_TO_CLEAR}{_POOL})",
        ),
        number(
            "Time to clear",
            "At the present pace; QueueWillNotClear looks from 300 s.",
            f"max({_TO_CLEAR}{_POOL})",
            SECONDS,
            300,
        ),
        number("Processes", "That Prometheus reaches.", f"count(doorbell_draining{_POOL})"),
        number(
            "Drained",
            "Processes that an operator keeps from taking messages.",
            f"sum(doorbell_draining{_POOL})",
        ),
        number(
            "Not done",
            "Share of the attempts of the last five minutes that did not end done.",
            f'1 - sum(rate(doorbell_steps_total{{pool="$pool", outcome="done"}}[5m]))'
            f" / sum(rate(doorbell_steps_total{_POOL}[5m]))",
            SHARE,
        ),
        number(
            "In flight",
            "Steps that the processes hold without having acked them.",
            f"sum(doorbell_steps_in_flight{_POOL})",
        ),
    ]


def _steps() -> list[Panel]:
    return [
        lines(
            "Attempts by outcome",
            "Each attempt has one.",
            {"{{outcome}}": rate(f"doorbell_steps_total{_POOL}", "outcome")},
            PER_SECOND,
        ),
        lines(
            "Attempts by task",
            "What the pool works on.",
            {"{{task}}": rate(f"doorbell_steps_total{_POOL}", "task")},
            PER_SECOND,
        ),
        lines(
            "Time of a step",
            "From its message to its commit and publish; in a pool that takes lists, that is the list's.",
            {
                "p99 {{task}}": quantile(0.99, f"doorbell_step_seconds{_POOL}", "task"),
                "median {{task}}": quantile(0.5, f"doorbell_step_seconds{_POOL}", "task"),
            },
            SECONDS,
        ),
        lines(
            "Time in the queue",
            "From a step's being due until a process took it.",
            {
                "p99 {{task}}": quantile(0.99, f"doorbell_step_wait_seconds{_POOL}", "task"),
                "median {{task}}": quantile(0.5, f"doorbell_step_wait_seconds{_POOL}", "task"),
            },
            SECONDS,
        ),
        lines(
            "Transaction and publish",
            "A list's transaction in the ledger, and its next messages until the broker has confirmed them.",
            {
                "transaction p99": quantile(0.99, f"doorbell_transaction_seconds{_POOL}"),
                "transaction median": quantile(0.5, f"doorbell_transaction_seconds{_POOL}"),
                "publish p99": quantile(0.99, f"doorbell_publish_seconds{_POOL}"),
                "publish median": quantile(0.5, f"doorbell_publish_seconds{_POOL}"),
            },
            SECONDS,
        ),
        lines(
            "Steps in a list",
            "How many shared a transaction, on average.",
            {
                "steps": f"{rate(f'doorbell_list_steps_sum{_POOL}')}"
                f" / {rate(f'doorbell_list_steps_count{_POOL}')}"
            },
        ),
        lines(
            "Received and done with",
            "When the first line stays above the second, messages pile up in the processes.",
            {
                "received": rate(f"doorbell_steps_received_total{_POOL}"),
                "ended": rate(f"doorbell_steps_total{_POOL}"),
            },
            PER_SECOND,
        ),
    ]


def _processes() -> list[Panel]:
    of_pool = f"and on (instance) doorbell_draining{_POOL}"
    return [
        lines(
            "Processor",
            "Share of a core that each process uses; a pool whose processes use all of one wants more of them.",
            {"{{instance}}": f"rate(process_cpu_seconds_total[$__rate_interval]) {of_pool}"},
            SHARE,
        ),
        lines(
            "Memory",
            "Resident, by process.",
            {"{{instance}}": f"process_resident_memory_bytes {of_pool}"},
            BYTES,
        ),
    ]
