"""What an accepted login must leave behind, and what of it is missing or there too often."""

from __future__ import annotations

from collections import Counter

from routing.load import load
from tests.chaos.evidence import Evidence, Ledger, Row
from tests.chaos.findings import Findings
from tests.chaos.load import Report
from tests.chaos.receivers import SUSPECT

_MAIN = (
    "device_checks.check_device",
    "notifications.notify_user",
    "db_writes.save_event",
    "external_api.score_login",
    "db_writes.apply_verdict",
)

_QUEUES = {name: task.queue for name, task in load().tasks.items()}
"""Where each task belongs, also when it is tried again: there alone it finds what it needs."""


def check_workflows(evidence: Evidence, ledger: Ledger, found: Findings) -> None:
    """Each accepted login is one workflow that ended as it must; there are no others."""
    by_event: dict[str, list[Row]] = {}
    for workflow in ledger.workflows:
        by_event.setdefault(workflow["event_id"], []).append(workflow)
    for report in evidence.reports:
        rows = by_event.get(report.event_id, [])
        for extra in rows[1:]:
            found.double(f"event {report.event_id} has another workflow {extra['id']}", extra["id"])
        if report.workflow_id is None:
            continue
        row = next((row for row in rows if row["id"] == report.workflow_id), None)
        if row is None:
            found.miss(f"workflow {report.workflow_id} was accepted and is not in the ledger")
        else:
            _check_end(report, row["state"], ledger, evidence.api_may_fail, found)


def _check_end(
    report: Report, state: str, ledger: Ledger, api_may_fail: bool, found: Findings
) -> None:
    workflow = str(report.workflow_id)
    if state == "accepted":
        found.miss(f"workflow {workflow} is still open", workflow)
        return
    setattr(found, state, getattr(found, state) + 1)
    expected = "failed" if report.is_marked else "done"
    if report.is_marked and api_may_fail and ledger.verdicts.get(workflow) == "unscored":
        expected = state if state == "done" else "failed"
    if state != expected:
        found.object(f"workflow {workflow} ended {state}, not {expected}", workflow)


def check_steps(ledger: Ledger, found: Findings) -> None:
    """Each planned step is there once, and so is each callback and each notice's delivery."""
    sent = Counter(n["workflow_id"] for n in ledger.notices if n["state"] == "sent")
    for workflow in ledger.workflows:
        if workflow["state"] not in ("done", "failed"):
            continue
        steps = ledger.steps[workflow["id"]]
        expected = Counter(_MAIN)
        expected["notifications.deliver_notice"] = sent[workflow["id"]]
        expected["notifications.record_receipt"] = sent[workflow["id"]]
        if workflow["state"] == "failed":
            expected += Counter(("db_writes.record_unscored", "maintenance.note_failed_workflow"))
        _compare(workflow["id"], Counter(s["task"] for s in steps), expected, "step", found)
        for step in steps:
            if step["queue"] != _QUEUES.get(step["task"]):
                found.object(
                    f"step {step['id']} of {step['task']} is in {step['queue']}", workflow["id"]
                )
        bad = [s for s in steps if s["state"] != _state_of(s["task"], workflow["state"])]
        for step in bad:
            found.object(f"step {step['id']} of {step['task']} is {step['state']}", workflow["id"])


def _state_of(task: str, workflow_state: str) -> str:
    if workflow_state == "failed" and task in _MAIN[3:]:
        return "failed" if task == "external_api.score_login" else "blocked"
    return "done"


def check_rows(evidence: Evidence, ledger: Ledger, found: Findings) -> None:
    """Each recorded effect is there exactly once."""
    accepted = Counter(evidence.accepted.keys())
    _compare_all(Counter(ledger.logins), accepted, "stored login", found)
    _compare_all(Counter(ledger.verdicts.keys()), accepted, "verdict", found)
    failed = Counter(w["id"] for w in ledger.workflows if w["state"] == "failed")
    noted = Counter(row["workflow_id"] for row in ledger.failures)
    _compare_all(noted, failed, "noted failure", found)
    _check_levels(evidence, ledger, found)
    _check_devices(evidence, ledger, found)
    _check_switches(evidence, ledger, found)


def _check_levels(evidence: Evidence, ledger: Ledger, found: Findings) -> None:
    for workflow, report in evidence.accepted.items():
        level = ledger.verdicts.get(workflow)
        if level is None or level == "unscored" and evidence.api_may_fail:
            continue
        expected = "high" if report.user_id.startswith(SUSPECT) else "low"
        expected = "unscored" if report.is_marked else expected
        if level != expected:
            found.object(f"the verdict of workflow {workflow} is {level}", workflow)


def _check_devices(evidence: Evidence, ledger: Ledger, found: Findings) -> None:
    for user, browsers in devices_of(evidence).items():
        row = ledger.devices.get(user, {"devices": 0, "firsts": 0})
        _compare_one(f"devices of {user}", row["devices"], len(browsers), found)
        _compare_one(f"first devices of {user}", row["firsts"], 1, found)


def _check_switches(evidence: Evidence, ledger: Ledger, found: Findings) -> None:
    locked = {
        evidence.accepted[w].user_id for w, level in ledger.verdicts.items() if level == "high"
    }
    expected = Counter({(u, n): 1 for u in locked for n in ("require_step_up", "locked")})
    there = Counter({(r["user_id"], r["name"]): r["changes"] for r in ledger.switch_changes})
    _compare_all(there, expected, "switch change", found)


def check_notices(evidence: Evidence, ledger: Ledger, found: Findings) -> None:
    """A notice for each device but a user's first, and for each high verdict: sent, with one receipt."""
    accepted = evidence.accepted
    devices = Counter(n["user_id"] for n in ledger.notices if n["reason"] == "new_device")
    for user, browsers in devices_of(evidence).items():
        _compare_one(f"new-device notices of {user}", devices[user], len(browsers) - 1, found)
    verdicts = Counter(n["workflow_id"] for n in ledger.notices if n["reason"] == "verdict")
    high = Counter(w for w, level in ledger.verdicts.items() if level == "high")
    _compare_all(verdicts, high, "verdict notice", found)
    for notice in ledger.notices:
        report = accepted.get(notice["workflow_id"])
        channel = "email" if report and "email" in report.body else "webhook"
        if (notice["state"], notice["channel"]) != ("sent", channel):
            found.object(f"notice {notice} is not sent by {channel}", notice["workflow_id"])
        _compare_one(f"receipts of notice {notice['id']}", notice["receipts"], 1, found)


def check_events(ledger: Ledger, found: Findings) -> None:
    """The application hears of each verdict and of each switch that one turned on."""
    told = [event for event in ledger.events if event["type"] == "login.verdict"]
    final = Counter(
        event["workflow_id"]
        for event in told
        if event["data"]["level"] == ledger.verdicts.get(event["workflow_id"])
    )
    _compare_all(final, Counter(ledger.verdicts.keys()), "verdict told to the application", found)
    flips = Counter(
        (event["user_id"], event["data"]["switch"])
        for event in ledger.events
        if event["type"] == "switch.changed"
    )
    there = Counter({(r["user_id"], r["name"]): r["changes"] for r in ledger.switch_changes})
    _compare_all(flips, there, "switch told to the application", found)
    for event in ledger.events:
        if event["state"] != "sent":
            found.miss(f"event {event} is not sent", event["workflow_id"])


def devices_of(evidence: Evidence) -> dict[str, set[str]]:
    """The devices of each user of an accepted login."""
    devices: dict[str, set[str]] = {}
    for report in evidence.accepted.values():
        devices.setdefault(report.user_id, set()).add(report.body["user_agent"])
    return devices


def _compare_one(what: str, there: int, expected: int, found: Findings) -> None:
    for _ in range(expected - there):
        found.miss(f"{what}: {there}, not {expected}")
    for _ in range(there - expected):
        found.double(f"{what}: {there}, not {expected}")


def _compare_all(
    there: Counter[str] | Counter[tuple[str, str]],
    expected: Counter[str] | Counter[tuple[str, str]],
    what: str,
    found: Findings,
) -> None:
    for key in (expected - there).elements():  # type: ignore[operator]  # both of one kind
        found.miss(f"{what} of {key} is missing", *([key] if isinstance(key, str) else []))
    for key in (there - expected).elements():  # type: ignore[operator]
        found.double(
            f"{what} of {key} is there too often", *([key] if isinstance(key, str) else [])
        )


def _compare(
    workflow: str, there: Counter[str], expected: Counter[str], what: str, found: Findings
) -> None:
    for task in (expected - there).elements():
        found.miss(f"{what} {task} of workflow {workflow} is missing", workflow)
    for task in (there - expected).elements():
        found.double(f"{what} {task} of workflow {workflow} is there too often", workflow)
