"""What runs by the clock, and the process that starts it: `python -m services.schedule`."""

from __future__ import annotations

import sys
from typing import Any

from celery import Celery
from prometheus_client import start_http_server

from routing.load import load as load_topology
from routing.topology import Topology
from services import settings as configuration
from services.broker_tls import certificate_end
from services.canvas.delivery import NOTICE_TASK
from services.celery_app import make_app
from services.domain.errors import ConfigurationError
from services.leader import become_leader
from services.ledger.database import Ledger
from services.ledger.figures import Figures, measure
from services.observability import logs
from services.observability.leading import BrokerCertificate, LedgerFigures

RELAY_EVERY_SECONDS = 2.0
RECONCILE_EVERY_SECONDS = 15.0
CANARY_EVERY_SECONDS = 15.0
EXPIRE_SWITCHES_EVERY_SECONDS = 30.0
FORGET_OLD_EVERY_SECONDS = 60.0
RESCORE_EVERY_SECONDS = 10.0
TELL_APPLICATIONS_EVERY_SECONDS = 2.0
TELL_FOLDED_EVERY_SECONDS = 60.0


def schedule() -> dict[str, dict[str, Any]]:
    """Beat's entries: task, interval in seconds, arguments."""
    return {
        "relay": {
            "task": "maintenance.relay",
            "schedule": RELAY_EVERY_SECONDS,
            "args": ["beat"],
            # A relay that waited while the broker was away need not run for each tick missed.
            "options": {"ignore_result": True},
        },
        "reconcile": {
            "task": "maintenance.reconcile",
            "schedule": RECONCILE_EVERY_SECONDS,
            "args": ["beat"],
            "options": {"ignore_result": True},
        },
        "rescore": {
            "task": "maintenance.rescore",
            "schedule": RESCORE_EVERY_SECONDS,
            "args": ["beat"],
            "options": {"ignore_result": True},
        },
        "tell_applications": {
            "task": "maintenance.tell_applications",
            "schedule": TELL_APPLICATIONS_EVERY_SECONDS,
            "args": ["beat"],
            "options": {"ignore_result": True},
        },
        "forget_old": {
            "task": "maintenance.forget_old",
            "schedule": FORGET_OLD_EVERY_SECONDS,
            "args": ["beat"],
            "options": {"ignore_result": True},
        },
        "tell_folded": {
            "task": "maintenance.tell_folded",
            "schedule": TELL_FOLDED_EVERY_SECONDS,
            "args": ["beat"],
            "options": {"ignore_result": True},
        },
        "expire_switches": {
            "task": "maintenance.expire_switches",
            "schedule": EXPIRE_SWITCHES_EVERY_SECONDS,
            "args": ["beat"],
            "options": {"ignore_result": True},
        },
        "canary": {
            "task": "maintenance.canary",
            "schedule": CANARY_EVERY_SECONDS,
            "args": ["beat"],
            "options": {"ignore_result": True},
        },
    }


def main() -> int:
    """Run beat until told to stop; 2 when the configuration is wrong.

    Of several, one works; the others wait to take over.
    """
    try:
        settings = configuration.load()
        topology = load_topology()
        app = make_app(settings, topology)
        app.heartbeat.beat("starting")
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    logs.configure(settings.log_level, process="beat", host=settings.host_name)
    if settings.metrics_port:
        start_http_server(settings.metrics_port, settings.metrics_host)
    leadership = become_leader(app.ledger.connect, "beat", app.heartbeat.beat)
    LedgerFigures(lambda: _figures(app.ledger, topology)).start()
    if settings.broker_tls is not None:
        BrokerCertificate(lambda: broker_certificate_end(app)).start()
    app.conf.beat_schedule = schedule()
    app.conf.beat_scheduler = "services.steady_beat:SteadyScheduler"
    with leadership:
        app.start(["--quiet", "beat", "--loglevel=WARNING", "--pidfile="])
    return 0


def _figures(ledger: Ledger, topology: Topology) -> Figures:
    with ledger.connection() as connection:
        return measure(connection, list(topology.queues), NOTICE_TASK)


def broker_certificate_end(app: Celery[Any]) -> float:
    """When the certificate ends that the broker shows to a new connection, in seconds since 1970."""
    with app.connection_for_write() as connection:
        connection.connect()
        opened: Any = connection.connection
        return certificate_end(opened.transport.sock)


if __name__ == "__main__":
    sys.exit(main())
