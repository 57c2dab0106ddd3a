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

EVERY_SECONDS = {
    "relay": 2.0,
    "reconcile": 15.0,
    "rescore": 10.0,
    "tell_applications": 2.0,
    "tell_folded": 60.0,
    "answer_bounces": 10.0,
    "begin_digests": 10.0,
    "expire_switches": 30.0,
    "forget_old": 60.0,
    "canary": 15.0,
}
"""How often each of maintenance's steps is begun."""


def schedule() -> dict[str, dict[str, Any]]:
    """Beat's entries: task, interval in seconds, arguments."""
    return {
        name: {
            "task": f"maintenance.{name}",
            "schedule": seconds,
            "args": ["beat"],
            "options": {"ignore_result": True},
        }
        for name, seconds in EVERY_SECONDS.items()
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
        app.Beat(quiet=True, loglevel="WARNING").run()
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
