"""Overview: are logins accepted, are verdicts in time, are notices going out, is anything stuck."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import (
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

_NOT_ACCEPTED = 'outcome=~"shed|unavailable|error"'
_OURS_TO_ANSWER = 'outcome=~"accepted|repeated|shed|unavailable|error"'
_FRESH = rate('doorbell_outlier_answers_total{outcome!="repeated"}', window="1h")
_NEW_VALUES = rate("doorbell_outlier_unseen_total", "level", "1h")
_UNSEEN = f"{_NEW_VALUES} / on () group_left () ({_FRESH} > 0)"
_DELIVERED = 'task="notifications.deliver_notice"'


def overview() -> Dashboard:
    """The first that an operator opens: a row for each question."""
    return new_dashboard(
        "doorbell-overview",
        "Doorbell: overview",
        "Are logins accepted, are verdicts in time, are notices going out, is anything stuck?",
        {
            "Are logins accepted?": _accepted(),
            "Are verdicts in time?": _verdicts(),
            "Are notices going out?": _notices(),
            "Is anything stuck?": _stuck(),
        },
    )


def _accepted() -> list[Panel]:
    return [
        number(
            "Not accepted",
            "Share of logins that were not accepted for a reason of ours. LoginsNotAccepted pages from 5 %.",
            f"sum(rate(doorbell_logins_total{{{_NOT_ACCEPTED}}}[1m]))"
            f" / sum(rate(doorbell_logins_total{{{_OURS_TO_ANSWER}}}[1m]))",
            SHARE,
            0.05,
        ),
        number("Gateways", "Gateways that answer Prometheus.", 'sum(up{job="gateway"})'),
        number(
            "Reach PostgreSQL",
            "Gateways that do; when none does, no login can be accepted (DatabaseDown).",
            "sum(doorbell_database_reachable)",
        ),
        lines(
            "Logins by answer",
            "A 202 is `accepted`; `shed` and `unavailable` are told to come again; `error` is our fault.",
            {"{{outcome}}": rate("doorbell_logins_total", "outcome")},
            PER_SECOND,
        ),
        lines(
            "Time to answer",
            "Of every request to the gateways, by the class of its status.",
            {
                "p99 {{outcome}}": quantile(0.99, "doorbell_request_duration_seconds", "outcome"),
                "median": quantile(0.5, "doorbell_request_duration_seconds"),
            },
            SECONDS,
        ),
    ]


def _verdicts() -> list[Panel]:
    return [
        number(
            "Late logins",
            "Open logins that have been without a verdict for longer than promised. VerdictsLate pages from 4.",
            "max(doorbell_late_logins)",
            bad_from=4,
        ),
        number(
            "Open workflows",
            "Logins whose work has not ended.",
            "max(doorbell_open_workflows)",
        ),
        number(
            "Breakers open",
            "While one is, logins are kept as unscored (BreakerOpen).",
            "max(doorbell_open_breakers)",
            bad_from=1,
        ),
        lines(
            "Time to clear",
            "How long each queue needs at its present pace; QueueWillNotClear looks from 300 s.",
            {"{{queue}}": "max by (queue) (queue:doorbell_clear_seconds:rate2m)"},
            SECONDS,
        ),
        lines(
            "From door to verdict",
            "From a login's being accepted to its verdict's being stored.",
            {
                "p99": quantile(0.99, "doorbell_verdict_seconds"),
                "median": quantile(0.5, "doorbell_verdict_seconds"),
            },
            SECONDS,
        ),
        lines(
            "Verdicts by level",
            "Stored by Doorbell; `unscored` where the outlier API gave no usable answer.",
            {"{{level}}": rate("doorbell_verdicts_total", "level")},
            PER_SECOND,
        ),
        lines(
            "Outlier API",
            "What it answers; `repeated` was answered from storage.",
            {"{{outcome}}": rate("doorbell_outlier_answers_total", "outcome")},
            PER_SECOND,
        ),
        *_model(),
    ]


def _model() -> list[Panel]:
    """Of the reference outlier API."""
    return [
        lines(
            "Drift of scores",
            "The hour's scores beside the week's: they part when logins or the model have changed.",
            {
                f"{name}, {window}": quantile(share, "doorbell_outlier_score", window=window)
                for name, share in (("median", 0.5), ("p95", 0.95))
                for window in ("1h", "7d")
            },
        ),
        lines(
            "New to the outlier API",
            "The share of the hour's logins with a value that none of the tenant's users had shown before.",
            {"{{level}}": _UNSEEN},
            SHARE,
        ),
    ]


def _notices() -> list[Panel]:
    return [
        number(
            "Late notices",
            "Notices that have not left for longer than promised. NoticesNotGoingOut pages from 3.",
            "max(doorbell_late_notices)",
            bad_from=3,
        ),
        lines(
            "Deliveries by outcome",
            "Attempts to hand a notice to the mail server or a webhook's receiver; each try counts.",
            {"{{outcome}}": rate(f"doorbell_steps_total{{{_DELIVERED}}}", "outcome")},
            PER_SECOND,
        ),
        lines(
            "Notices by channel and outcome",
            "`superseded` went over another channel, `failed` over none.",
            {"{{channel}} {{outcome}}": rate("doorbell_notices_total", "channel, outcome")},
            PER_SECOND,
        ),
        lines(
            "Time of a delivery",
            "From its message to its commit.",
            {
                "p99": quantile(0.99, f"doorbell_step_seconds{{{_DELIVERED}}}"),
                "median": quantile(0.5, f"doorbell_step_seconds{{{_DELIVERED}}}"),
            },
            SECONDS,
        ),
    ]


def _stuck() -> list[Panel]:
    return [
        number(
            "Oldest workflow",
            "How long the oldest open workflow has been at work. WorkStuck pages from 300 s.",
            "max(doorbell_oldest_workflow_seconds)",
            SECONDS,
            300,
        ),
        number(
            "Lost steps",
            "Steps whose messages were lost again and again; WorkLost pages from the first.",
            "max(doorbell_lost_steps)",
            bad_from=1,
        ),
        number(
            "Dead letters",
            "Messages of steps that were given up; kept until they are replayed or dropped.",
            'sum(max by (queue) (rabbitmq_detailed_queue_messages{queue=~".+[.]dead"}))',
        ),
        lines(
            "Oldest waiting message",
            "Since when the oldest step of each queue has waited to be done.",
            {"{{queue}}": "max by (queue) (doorbell_oldest_waiting_seconds)"},
            SECONDS,
        ),
        lines(
            "Alerts",
            "What fires now; each names its runbook in deploy/runbooks.",
            {"{{alertname}} {{queue}}": 'ALERTS{alertstate="firing"}'},
        ),
    ]
