"""Accepts logins for the floor: what the gateway does for a list of them, without HTTP."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache, partial
from typing import Any
from uuid import uuid4

from psycopg import Connection

from routing.load import load
from services.canvas.login import login_workflow
from services.celery_app import make_app
from services.gateway.acceptance import Submission, accept
from services.gateway.reports import as_login, body_sha256, read_report
from services.gateway.tenant_keys import KeyChain
from services.ledger import store
from services.ledger.plan_template import PlanTemplate
from services.sessions import Session
from services.settings import Settings
from tests.bench.floor_broker import Sender

LIST_SIZE = 50
"""As many as Doorbell's load generator posts at a time."""


def send_list(logins: Sequence[dict[str, Any]]) -> None:
    """Accept logins in one transaction, and publish their first messages, as `tests.bench.rival_send` wants it."""
    connection, sender = _database(), _sender()
    tenant = os.environ["RIVAL_TENANT"]
    submissions = []
    for value in logins:
        report, errors = read_report(value)
        if report is None or report.event_id is None:
            raise ValueError(f"not a login: {errors}")
        login = as_login(report, uuid4(), tenant, report.event_id)
        submissions.append(Submission(login, report.event_id, body_sha256(report)))
    _, messages = accept(connection, submissions, _template().plan, _keys())
    connection.commit()
    sender.publish(messages)
    store.mark_published(connection, [message.step_id for message in messages])
    connection.commit()


def prepare() -> None:
    """Connect, and make the template, as the gateway does before its first request."""
    _database(), _sender(), _template()


@cache
def _database() -> Connection[Any]:
    return Session.connect(os.environ["RIVAL_DATABASE"])


@cache
def _sender() -> Sender:
    return Sender()


@cache
def _keys() -> KeyChain:
    return KeyChain()


@cache
def _template() -> PlanTemplate:
    app = make_app(Settings(os.environ["RIVAL_BROKER"], os.environ["RIVAL_DATABASE"]), load())
    return PlanTemplate(app, partial(login_workflow, app))
