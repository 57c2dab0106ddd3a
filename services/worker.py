"""One worker process of a pool: `python -m services.worker POOL [--process N]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from prometheus_client import start_http_server

from routing.commands import worker_options
from routing.load import load as load_topology
from routing.rules import check_tasks
from services import settings as configuration
from services.bootstrap import configure_runner, make_wiring, register_steps
from services.celery_app import make_app
from services.domain.errors import ConfigurationError
from services.garbage import settle_down
from services.handlers.fingerprint import describe
from services.observability import logs


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop; 2 when the configuration is wrong, else Celery's exit status."""
    parser = argparse.ArgumentParser(prog="services.worker", description=__doc__)
    parser.add_argument("pool")
    parser.add_argument("--process", type=int, default=1, help="its number on this host")
    options = parser.parse_args(arguments)
    try:
        topology = load_topology()
        settings = configuration.load()
        app = make_app(settings, topology)
        app.heartbeat.beat("starting")
        register_steps(app, topology, make_wiring(app, settings, topology))
        check_tasks(topology, app.tasks)
        configure_runner(app, settings, topology, options.pool, options.process)
        wanted = worker_options(topology, options.pool, options.process)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    logs.configure(
        settings.log_level,
        pool=options.pool,
        process=f"{options.pool}.{options.process}",
        host=settings.host_name,
    )
    # The parser of user agents loads its rules on first use; no login should wait for that.
    describe("")
    if settings.metrics_port:
        start_http_server(settings.metrics_port, settings.metrics_host)
    settle_down()
    return app.work(wanted, settings.log_level)


if __name__ == "__main__":
    sys.exit(main())
