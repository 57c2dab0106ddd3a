"""How a workflow is shown to who asks: as it was planned and as it went, by `doorbell trace` and over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from services.gateway.answers import Step
from tests.integration.workflow.conftest import Operate
from tests.support.cluster import IPHONE, WINDOWS, Cluster
from tests.support.fleet import wait_until
from tests.support.outlier_api import AdjustableOutlierApi


def _short(step: dict[str, Any]) -> str:
    return str(step["task"]).partition(".")[2]


def _names(steps: list[dict[str, Any]]) -> dict[str, str]:
    return {step["id"]: _short(step) for step in steps}


def _tree(steps: list[dict[str, Any]]) -> dict[str, str | None]:
    names = _names(steps)
    return {names[step["id"]]: step["parent"] and names[step["parent"]] for step in steps}


def _with_a_mail(cluster: Cluster) -> str:
    """A workflow whose notice has left."""
    user = f"user-{uuid4().hex[:8]}"
    cluster.ended(cluster.post(user, IPHONE))
    workflow = cluster.post(user, WINDOWS)
    assert cluster.ended(workflow) == ["done"]
    return workflow


def test_a_login_is_shown_with_its_callbacks(cluster: Cluster, operate: Operate) -> None:
    """The group, the chord's body, the notice beside the plan and the callback that fired after it."""
    workflow = _with_a_mail(cluster)
    shown = cluster.workflow(workflow)["steps"]
    steps = {_short(step): step for step in shown}
    names = _names(shown)
    leaves = ("notify_user", "save_event")
    tree = _tree(shown)
    assert tree.pop("score_login") in leaves
    assert tree == {
        "check_device": None,
        "notify_user": "check_device",
        "save_event": "check_device",
        "apply_verdict": "score_login",
        "deliver_notice": "notify_user",
        "record_receipt": "deliver_notice",
    }
    assert [steps[each]["group_index"] for each in leaves] == [0, 1]
    assert steps["notify_user"]["group"] == steps["save_event"]["group"]
    assert [names[each] for each in steps["score_login"]["after"]] == [*leaves]
    assert [(each["kind"], each["state"]) for each in steps["save_event"]["callbacks"]] == [
        ("body", "fired")
    ]
    assert (steps["score_login"]["role"], steps["record_receipt"]["role"]) == ("body", "link")
    assert [
        (each["kind"], each["task"], each["state"]) for each in steps["deliver_notice"]["callbacks"]
    ] == [
        ("link", "notifications.record_receipt", "fired"),
        ("link_error", "notifications.try_next_channel", "will_not_fire"),
    ]
    assert [name for name, step in steps.items() if not step["planned"]] == [
        "deliver_notice",
        "record_receipt",
    ]
    for step in shown:
        assert step["run_seconds"] >= 0
        assert step["waiting_seconds"] >= 0
    code, traced = operate("trace", workflow)
    assert code == 0
    told = [{name: step[name] for name in ("id", "group", "callbacks")} for step in traced["steps"]]
    assert told == [{name: step[name] for name in ("id", "group", "callbacks")} for step in shown]


def test_any_step_finds_its_workflow(cluster: Cluster, operate: Operate) -> None:
    """A callback's id too, from the command and over HTTP."""
    workflow = _with_a_mail(cluster)
    shown = cluster.workflow(workflow)
    for step in shown["steps"]:
        assert cluster.workflow(step["id"]) == shown
    code, traced = operate("trace", shown["steps"][-1]["id"])
    assert (code, traced["workflow_id"]) == (0, workflow)


def test_another_tenants_step_finds_nothing(cluster: Cluster) -> None:
    """Nor does one that was sent by hand: it is nobody's."""
    cluster.rows("INSERT INTO tenant (id, name) VALUES ('bank', 'The Bank') ON CONFLICT DO NOTHING")
    theirs, by_hand = uuid4(), uuid4()
    cluster.rows(
        "INSERT INTO workflow (id, tenant_id, name, state) VALUES (%s, 'bank', 'login', 'done')",
        theirs,
    )
    for step_id, workflow in ((uuid4(), theirs), (by_hand, None)):
        cluster.rows(
            "INSERT INTO step (id, workflow_id, task, state) VALUES (%s, %s, 'a.b', 'done')",
            str(step_id),
            workflow,
        )
        assert cluster.call("GET", f"/v1/workflows/{step_id}").status_code == 404


def test_what_a_step_has_answered_is_not_told(cluster: Cluster) -> None:
    """Results and errors are the operators': applications hear why a step was given up in a word of ours."""
    assert not {"result", "error", "traceback", "message"} & Step.model_fields.keys()
    shown = cluster.workflow(_with_a_mail(cluster))
    assert all(step.keys() == Step.model_fields.keys() for step in shown["steps"])


def test_an_error_callback_is_shown_as_one(
    cluster: Cluster, api: AdjustableOutlierApi, operate: Operate
) -> None:
    """Who fails keeps its callbacks; those that fired stand under it, with what never ran."""
    api.status = 422
    workflow = cluster.post(f"user-{uuid4().hex[:8]}")
    (state,) = cluster.ended(workflow)
    assert state in ("failed", "dead")

    def steps() -> dict[str, dict[str, Any]] | None:
        found = {_short(step): step for step in cluster.workflow(workflow)["steps"]}
        told = ("record_unscored", "note_failed_workflow")
        return found if all(name in found for name in told) else None

    shown = wait_until(steps, 30) or {}
    score = shown["score_login"]
    assert score["reason"]
    fired = {each["task"].partition(".")[2]: each["state"] for each in score["callbacks"]}
    assert fired == {"record_unscored": "fired", "note_failed_workflow": "fired"}
    assert shown["record_unscored"]["role"] == "link_error"
    assert shown["record_unscored"]["parent"] == score["id"]
    assert shown["apply_verdict"]["state"] == "blocked"
    code, traced = operate("trace", workflow)
    assert code == 0
    errors = {_short(step): step["error"] for step in traced["steps"] if step["error"]}
    assert "score_login" in errors
