"""Starts the gateway: `python -m services.gateway`."""

from __future__ import annotations

import sys

import uvicorn
from prometheus_client import start_http_server

from routing.load import load as load_topology
from services.celery_app import make_app as make_celery_app
from services.domain.errors import ConfigurationError
from services.garbage import settle_down
from services.gateway.app import make_app
from services.gateway.parts import Parts
from services.gateway.plans import plans
from services.ledger.publisher import Publisher
from services.observability import logs
from services.observability.spans import make_spans
from services.settings import Settings, environment, load

CONFIRM_SECONDS = 5.0
_SHUTDOWN_SECONDS = 20


def serve(settings: Settings) -> None:
    """Serve until told to stop; what was answered with 202 by then is committed."""
    topology = load_topology()
    celery_app = make_celery_app(settings, topology)
    app = make_app(
        settings.database_url,
        plans(celery_app, topology),
        lambda: Publisher(celery_app, CONFIRM_SECONDS),
        make_spans("gateway", settings.host_name, environment()),
    )
    if settings.metrics_port is not None:
        parts: Parts = app.state.parts
        start_http_server(settings.metrics_port, settings.metrics_host, parts.metrics.registry)
    settle_down()
    uvicorn.run(
        app,
        host=settings.listen_host,
        port=settings.listen_port,
        log_level=settings.log_level.lower(),
        log_config=None,
        # An access log would hold users' ids and be the largest file of the host.
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        h11_max_incomplete_event_size=64 * 1024,
    )


def main() -> int:
    """Exit code 2: the settings or the topology are wrong."""
    try:
        settings = load()
        logs.configure(settings.log_level, process="gateway", host=settings.host_name)
        serve(settings)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
