"""Broker: queues, nodes and what RabbitMQ says of itself."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import (
    BYTES,
    PER_SECOND,
    SECONDS,
    Panel,
    lines,
    new_dashboard,
    number,
    rate,
)

_DEAD_LETTERED = "rabbitmq_global_messages_dead_lettered"
_SAFELY = '{dead_letter_strategy="at_least_once"}'


def broker() -> Dashboard:
    """RabbitMQ's own figures: the truth about queues."""
    return new_dashboard(
        "doorbell-broker",
        "Doorbell: broker",
        "Queues, nodes, and what passes through them, as RabbitMQ's own plugin tells it.",
        {"Now": _now(), "Queues": _queues(), "Nodes": _nodes()},
    )


def _now() -> list[Panel]:
    return [
        number("Nodes", "That answer Prometheus.", 'sum(up{job="rabbitmq"})'),
        number(
            "Alarms",
            "Of memory, disk or file descriptors: while one stands, nobody may publish (BrokerAlarm).",
            "sum(rabbitmq_alarms_memory_used_watermark + rabbitmq_alarms_free_disk_space_watermark"
            " + rabbitmq_alarms_file_descriptor_limit)",
            bad_from=1,
        ),
        number("Connections", "Of all nodes.", "sum(rabbitmq_connections)"),
        number("Channels", "Of all nodes.", "sum(rabbitmq_channels)"),
        number(
            "Certificate",
            "Time until the broker's ends; without TLS there is none.",
            "min(doorbell_broker_certificate_end_timestamp_seconds) - time()",
            SECONDS,
        ),
    ]


def _queues() -> list[Panel]:
    return [
        lines(
            "Messages",
            "In each queue, those that processes hold included; without the delays and the dead letters.",
            {
                "{{queue}}": "max by (queue) (rabbitmq_detailed_queue_messages)"
                " and on (queue) queue:doorbell_clear_seconds:rate2m"
            },
        ),
        lines(
            "Dead letters",
            "Kept until they are replayed or dropped.",
            {"{{queue}}": 'max by (queue) (rabbitmq_detailed_queue_messages{queue=~".+[.]dead"})'},
        ),
        lines(
            "Waiting for their time",
            "Messages that the broker holds back: what is tried again later.",
            {
                "{{queue}}": 'max by (queue) (rabbitmq_detailed_queue_messages{queue=~"celery_delayed_.+"}) > 0'
            },
        ),
        lines(
            "Consumers",
            "Of each queue; QueueWithoutConsumer pages at none.",
            {
                "{{queue}}": "max by (queue) (rabbitmq_detailed_queue_consumers)"
                " and on (queue) queue:doorbell_clear_seconds:rate2m"
            },
        ),
        lines(
            "Messages a second",
            "What is published, confirmed, delivered and acknowledged; redelivered is what came back.",
            {
                "published": rate("rabbitmq_global_messages_received_total"),
                "confirmed": rate("rabbitmq_global_messages_confirmed_total"),
                "delivered": rate("rabbitmq_global_messages_delivered_total"),
                "acknowledged": rate("rabbitmq_global_messages_acknowledged_total"),
                "redelivered": rate("rabbitmq_global_messages_redelivered_total"),
            },
            PER_SECOND,
        ),
        lines(
            "Moved by the broker",
            "Dead letters and delayed messages, and how many of them have arrived (DeadLetteringStopped).",
            {
                "expired": rate(f"{_DEAD_LETTERED}_expired_total{_SAFELY}"),
                "rejected": rate(f"{_DEAD_LETTERED}_rejected_total{_SAFELY}"),
                "came too often": rate(f"{_DEAD_LETTERED}_delivery_limit_total{_SAFELY}"),
                "arrived": rate(f"{_DEAD_LETTERED}_confirmed_total{_SAFELY}"),
            },
            PER_SECOND,
        ),
    ]


def _nodes() -> list[Panel]:
    return [
        lines(
            "Memory",
            "Of each node, beside the limit at which it stops publishers.",
            {
                "{{instance}}": "rabbitmq_process_resident_memory_bytes",
                "limit of {{instance}}": "rabbitmq_resident_memory_limit_bytes",
            },
            BYTES,
        ),
        lines(
            "Free disk",
            "Of each node, beside the limit at which it stops publishers.",
            {
                "{{instance}}": "rabbitmq_disk_space_available_bytes",
                "limit of {{instance}}": "rabbitmq_disk_space_available_limit_bytes",
            },
            BYTES,
        ),
        lines(
            "Leaders",
            "Terms of the queues' elections: a line that rises says that leaders change.",
            {"{{instance}}": "sum by (instance) (rabbitmq_raft_term_total)"},
        ),
        lines(
            "Log writes",
            "Entries that each node's queues have written and not yet committed everywhere.",
            {
                "{{instance}}": "sum by (instance) (rabbitmq_raft_log_last_written_index"
                " - rabbitmq_raft_log_commit_index)"
            },
        ),
    ]
