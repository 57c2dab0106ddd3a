"""Checks what left the system: mails, webhook calls and API calls, each under one id for one effect."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from tests.chaos.evidence import Evidence, Ledger, Row, mails
from tests.chaos.findings import Findings
from tests.chaos.receivers import Call
from tests.chaos.repeats import hits, judge_repeats

_DATABASE = ("postgres",)
"""The outcome of a call is committed after it: a database that dies in between can repeat the call."""


def check_mails(evidence: Evidence, ledger: Ledger, found: Findings) -> None:
    users = {report.user_id for report in evidence.reports}
    notices = [n for n in ledger.notices if n["channel"] == "email"]
    by_id = {f"<{notice['id']}@doorbell>": notice for notice in notices}
    times: defaultdict[str, list[float]] = defaultdict(list)
    for mail in mails(evidence.places.maildir, users):
        times[mail.message_id].append(mail.at)
    _check_sent(
        "mail",
        times,
        by_id,
        hits(evidence.disturbances, "notifications", (*_DATABASE, "smtp")),
        found,
    )


def check_webhooks(evidence: Evidence, ledger: Ledger, found: Findings) -> None:
    notices = [notice for notice in ledger.notices if notice["channel"] == "webhook"]
    by_id = {row["id"]: row for row in [*notices, *ledger.events]}
    times: defaultdict[str, list[float]] = defaultdict(list)
    for call in evidence.webhook_calls():
        if call.answer == 200:
            times[call.key].append(call.at)
    _check_sent(
        "webhook call", times, by_id, hits(evidence.disturbances, "notifications", _DATABASE), found
    )


def _check_sent(
    what: str,
    times: dict[str, list[float]],
    sent: dict[str, Row],
    spans: Sequence[tuple[float, float]],
    found: Findings,
) -> None:
    for key, row in sent.items():
        if row["state"] == "sent" and key not in times:
            found.miss(f"{what} {key} never arrived", row["workflow_id"])
    for key, received in times.items():
        if key not in sent:
            found.double(f"{what} {key} is of no notice and no event")
            continue
        repeats = judge_repeats(what, key, received, sent[key]["sent_at"], spans)
        found.repeated += repeats.excused
        for problem in repeats.unexcused:
            found.double(problem, sent[key]["workflow_id"])


def check_api_calls(evidence: Evidence, ledger: Ledger, found: Findings) -> None:
    times: defaultdict[str, list[float]] = defaultdict(list)
    for call in _answered(evidence.api_calls()):
        times[call.key].append(call.at)
    spans = hits(evidence.disturbances, "external_api", _DATABASE)
    for workflow in evidence.accepted:
        scored = [s for s in ledger.steps[workflow] if s["task"] == "external_api.score_login"]
        if not scored or scored[0]["state"] not in ("done", "failed"):
            continue
        received = times.get(workflow)
        if received is None:
            if ledger.verdicts.get(workflow) != "unscored":
                found.miss(f"the API was never asked about workflow {workflow}", workflow)
            continue
        repeats = judge_repeats("API call", workflow, received, scored[0]["finished_at"], spans)
        found.repeated += repeats.excused
        for problem in repeats.unexcused:
            found.double(problem, workflow)


def _answered(calls: Iterable[Call]) -> list[Call]:
    """Those that settled the matter; after the others the retry policy calls again."""
    return [call for call in calls if call.answer is not None and call.answer < 500]
