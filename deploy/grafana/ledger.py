"""Ledger: what PostgreSQL holds back, and the nets under it."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import (
    COUNT,
    PER_SECOND,
    SECONDS,
    Panel,
    lines,
    new_dashboard,
    number,
    rate,
)


def ledger() -> Dashboard:
    """What is committed and not yet published, what is open, and what had to be repaired."""
    return new_dashboard(
        "doorbell-ledger",
        "Doorbell: ledger",
        "What is committed and not yet published, what is open, and what had to be repaired.",
        {"Now": _now(), "Outbox": _outbox(), "Nets": _nets()},
    )


def _now() -> list[Panel]:
    return [
        number(
            "Outbox",
            "Messages that are committed and not yet confirmed by the broker.",
            "max(doorbell_outbox_messages)",
        ),
        number(
            "Outbox lag",
            "Age of the oldest of them.",
            "max(doorbell_outbox_lag_seconds)",
            SECONDS,
        ),
        number("Open workflows", "That have not ended.", "max(doorbell_open_workflows)"),
        number(
            "Unplanned logins",
            "Accepted in a flood of batches; they get their steps when the pools have room for them.",
            "max(doorbell_unplanned_logins)",
        ),
        number(
            "Standby missing",
            "1 while commits wait for a standby and none is connected (StandbyMissing).",
            "max(doorbell_standby_missing)",
            bad_from=1,
        ),
        number(
            "Commits unprotected",
            "1 while commits wait for no standby although one has a slot (CommitsUnprotected).",
            "max(doorbell_commits_unprotected)",
            bad_from=1,
        ),
        number(
            "Lost steps",
            "Whose messages were lost again and again (WorkLost).",
            "max(doorbell_lost_steps)",
            bad_from=1,
        ),
        number(
            "Gateways without",
            "Gateways that do not reach PostgreSQL (DatabaseDown, when it is all of them).",
            "count(doorbell_database_reachable == 0) or vector(0)",
            bad_from=1,
        ),
    ]


def _outbox() -> list[Panel]:
    return [
        lines(
            "Outbox",
            "Messages that wait for the relay; the broker is away while it grows.",
            {"messages": "max(doorbell_outbox_messages)"},
        ),
        lines(
            "Outbox lag",
            "Age of its oldest message.",
            {"age": "max(doorbell_outbox_lag_seconds)"},
            SECONDS,
        ),
        lines(
            "First messages",
            "What became at the gateway of a login's first message; the relay publishes the rest.",
            {
                "{{outcome}}": rate("doorbell_gateway_published_total", "outcome"),
                "by the relay": rate("doorbell_relayed_messages_total"),
            },
            PER_SECOND,
        ),
        lines(
            "Open and late",
            "Workflows that have not ended, and logins and notices that take longer than promised.",
            {
                "open workflows": "max(doorbell_open_workflows)",
                "late logins": "max(doorbell_late_logins)",
                "late notices": "max(doorbell_late_notices)",
            },
        ),
    ]


def _nets() -> list[Panel]:
    return [
        lines(
            "Open for long",
            "Workflows that were accepted longer ago than that and have not ended.",
            {"{{seconds}} s": "max by (seconds) (doorbell_open_workflows_older)"},
        ),
        lines(
            "Held back",
            "Steps that wait for an operator, and for how long anything has been held (HeldTooLong).",
            {
                "parked": "sum(max by (task) (doorbell_parked_steps)) or vector(0)",
                "held seconds": "max(doorbell_held_seconds) or vector(0)",
            },
        ),
        lines(
            "Repairs",
            "What the reconciler did in a minute; it is the net under lost messages (ReconcilerRepairing).",
            {"{{outcome}}": "sum by (outcome) (increase(doorbell_repairs_total[1m]))"},
            COUNT,
        ),
        lines(
            "Beat",
            "Turns of its loop (BeatSilent) and measurements of the ledger (LedgerNotMeasured).",
            {
                "turns": rate("doorbell_beat_ticks_total"),
                "measurements {{outcome}}": rate("doorbell_ledger_measurements_total", "outcome"),
            },
            PER_SECOND,
        ),
    ]
