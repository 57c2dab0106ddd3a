"""The composition root: the only module that knows which adapters there are."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from functools import partial
from importlib import import_module
from typing import Any
from uuid import UUID

from celery import Celery
from celery.canvas import Signature
from psycopg import Connection

from routing.celery import retry_policy
from routing.topology import Topology
from services.adapters.breaker import PostgresBreaker
from services.adapters.clock import SystemClock
from services.adapters.connections import Connections, open_pool
from services.adapters.erasures import erasures
from services.adapters.events import PostgresEvents, event_stores
from services.adapters.exports import exports
from services.adapters.networks import AddressData
from services.adapters.outlier_api import HttpOutlierApi
from services.adapters.postgres import PostgresTransaction, directly
from services.adapters.retention import forget_old
from services.adapters.smtp import SmtpMailer
from services.adapters.smtp_sessions import MailServer
from services.adapters.webhook import HttpWebhookSender
from services.canvas.canary import canary
from services.canvas.digesting import digesting
from services.canvas.rescoring import rescoring
from services.canvas.telling import telling
from services.celery_app import DoorbellApp
from services.domain.errors import ConfigurationError
from services.handlers.channels import Senders, senders
from services.handlers.ports import Networks, WebhookSender
from services.ledger.clearing import take_out
from services.ledger.database import Ledger
from services.ledger.planning import Plan, plan
from services.ledger.reconciler import Reconciler
from services.ledger.relay import relay_once
from services.ledger.sending import send, send_chosen
from services.observability.metrics import RELAYED, count_repairs
from services.observability.spans import make_spans
from services.pools.wiring import Wiring
from services.runner.config import RunnerConfig
from services.runner.failpoints import Failpoints
from services.runner.task import Steps, check_bases
from services.settings import Settings, environment
from services.user_digests import begin_due

RESCORED_AT_ONCE = 200
"""So many logins are asked about again side by side: at most twenty a second."""

DIGESTS_AT_ONCE = 200
"""So many digests are begun in one turn: at most twenty a second, so that a country's hour takes no pool."""

TOLD_AT_ONCE = 224
"""So many applications are told something side by side; one that hangs keeps one call of a process's 256."""


def register_steps(app: Celery, topology: Topology, wiring: Wiring) -> None:
    """Declare the steps of every pool; each one's retry policy comes from the topology.

    Raises:
        ConfigurationError: a pool of the topology has no module in `services.pools`.
    """
    steps = Steps(app, lambda task: retry_policy(topology, task))
    for pool in topology.pools:
        _module_of(pool).register(steps, wiring)


def _module_of(pool: str) -> Any:
    name = f"services.pools.{pool}"
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ConfigurationError(
            f"pool {pool} has no module: write its tasks in services/pools/{pool}.py,"
            " or take the pool out of routing/topology.yml"
        ) from error


def delivered_deadlines(topology: Topology) -> dict[str, float]:
    """For each queue, the seconds after which a delivered step has surely ended, or its process has."""
    return {
        queue.name: 2.0 * topology.pool(queue.pool).hard_limit_seconds
        for queue in topology.queues.values()
    }


def make_wiring(app: DoorbellApp, settings: Settings, topology: Topology) -> Wiring:
    """The real adapters.

    Raises:
        ConfigurationError: a setting that the pools need is missing.
    """
    missing = [
        name
        for name, value in (
            ("OUTLIER_API_URL", settings.outlier_api_url),
            ("DOORBELL_SMTP_URL (or DOORBELL_SMTP_URL_FILE)", settings.smtp_url),
        )
        if not value
    ]
    if missing:
        raise ConfigurationError("\n".join(f"{name} is not set" for name in missing))
    reconciler = Reconciler(app, app.ledger, delivered_deadlines(topology))
    connections = Connections(open_pool(settings.database_url, "doorbell-handlers"))
    connect = connections.transaction
    networks = AddressData(settings.network_databases)
    webhooks = HttpWebhookSender(settings.allowed_private_hosts, SystemClock())
    return Wiring(
        directly=directly(connections.direct),
        events=event_stores(connect),
        erasures=erasures(connect),
        take_out=partial(take_out, settings.broker_url, settings.broker_tls),
        exports=exports(connect),
        networks=networks,
        senders=make_senders(settings, webhooks, networks),
        webhooks=webhooks,
        outlier_api=HttpOutlierApi(
            settings.outlier_api_url or "", networks, settings.outlier_api_key
        ),
        breaker=PostgresBreaker(connections.direct, "outlier_api"),
        relay=lambda: _relay(app.ledger),
        reconcile=lambda: _reconcile(reconciler),
        canary=lambda: send(app, app.ledger, canary(app, topology.queues)),
        rescore=lambda: _rescore(app),
        begin_digests=lambda: begin_digests(app),
        tell_applications=lambda: _tell_applications(app),
        forget_old=lambda: forget_old(
            connect, settings.keep_addresses_days, settings.keep_logins_days
        ),
    )


def make_senders(settings: Settings, webhooks: WebhookSender, networks: Networks) -> Senders:
    """How notices leave: a sender for each channel."""
    server = MailServer.from_url(settings.smtp_url or "")
    mailer = SmtpMailer(server, settings.mail_from, SystemClock())
    return {
        **senders(mailer, webhooks, networks, settings.public_url),
    }


def _rescore(app: DoorbellApp) -> int:
    def due(connection: Connection[Any]) -> list[Signature]:
        claimed = PostgresTransaction(connection).claim_unscored(RESCORED_AT_ONCE)
        return [rescoring(app, workflow_id, time) for workflow_id, time in claimed.items()]

    return send_chosen(app, app.ledger, due)


def begin_digests(app: DoorbellApp, now: datetime | None = None) -> int:
    """Begin digests whose hour has come; how many. now: None: the database's."""

    def plan_digest(workflow_id: UUID, devices: int, label: str) -> Plan:
        return plan(app, digesting(app, workflow_id, devices), label)

    with app.ledger.connection() as connection:
        digests, messages = begin_due(connection, plan_digest, DIGESTS_AT_ONCE, now)
    app.ledger.publish(messages)
    return digests


def _tell_applications(app: DoorbellApp) -> int:
    def due(connection: Connection[Any]) -> list[Signature]:
        events = PostgresEvents(connection)
        events.give_up_old()
        claimed = events.claim_receivers(TOLD_AT_ONCE)
        return [telling(app, tenant_id, turn) for tenant_id, turn in claimed.items()]

    return send_chosen(app, app.ledger, due)


def _relay(ledger: Ledger) -> int:
    published = relay_once(ledger)
    RELAYED.inc(published)
    return published


def _reconcile(reconciler: Reconciler) -> dict[str, int]:
    repaired: dict[str, int] = asdict(reconciler.sweep())
    count_repairs(repaired)
    return repaired


def configure_runner(
    app: DoorbellApp, settings: Settings, topology: Topology, pool: str, process: int = 1
) -> RunnerConfig:
    """Tell the app which pool this process is one of.

    Raises:
        ConfigurationError: it cannot be run as it is.
    """
    wanted = topology.pool(pool)
    check_bases(app.tasks.values())
    Failpoints(settings.failpoints)  # refuses what it cannot read, here rather than in the worker
    config = RunnerConfig(
        pool=pool,
        style=wanted.style,
        host=settings.host_name,
        # A little less than the supervisor's own grace, to stop before it kills.
        grace_seconds=max(1.0, wanted.grace_seconds - 5.0),
        ledger=app.ledger,
        transaction=PostgresTransaction,
        failpoints=settings.failpoints,
        process=process,
        spans=make_spans(pool, settings.host_name, environment()),
    )
    app.runner = config
    return config
