"""Makes the Celery app: the topology's routes, the messaging rules, the ledger as result backend."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Mapping
from typing import Any

from routing.celery import celery_settings
from routing.topology import Topology
from services.canvas.delivery import delivery
from services.domain.errors import ConfigurationError
from services.heartbeat import Heartbeat
from services.ledger.amqp_frames import move_together
from services.ledger.amqp_headers import tolerate_headers
from services.ledger.celery_amqp import LedgerApp
from services.ledger.database import Ledger
from services.runner.task import StepTask
from services.settings import Settings

HEARTBEAT_SECONDS = 4
"""After three of them without a sign the broker gives a silent process's messages to others."""

RESULT_EXPIRES_SECONDS = 24 * 3600
"""How long results of canvases that were sent by hand are kept; workflows are not touched by it."""


class DoorbellApp(LedgerApp):
    """The app with what its tasks need: the ledger, the runner's settings, the way out for notices.

    `step_pool` is the running pool of a worker process, `heartbeat` its sign of life.
    """

    ledger: Ledger
    heartbeat: Heartbeat
    runner: Any = None
    step_pool: Any = None
    events_cls = "services.observability.events:RedactedEvents"

    def work(self, options: Mapping[str, Any], log_level: str = "WARNING") -> int:
        """Be a worker process until told to stop; returns its exit status.

        log_level: from which on it logs; Celery itself, which has a line or two for each step, from WARNING.
        options: of `routing.commands.worker_options`. Celery's command line would come to the same, but it
        loads every other program of Celery's, Flower too: a quarter of a start's CPU and 20 MB.
        """
        # Celery says there that it stops, past all logging; the consumer logs it as an event.
        sys.__stdout__ = None  # type: ignore[misc]  # final to type checkers; Celery asks whether it is there
        logging.getLogger("celery").setLevel(logging.WARNING)
        worker = self.Worker(quiet=True, task_events=True, loglevel=log_level, **options)
        worker.start()
        return int(worker.exitcode or 0)

    def deliver(self, notice_id: str, queue: str | None = None) -> None:
        """Start the delivery of a recorded notice, in its own queue or in another one."""
        delivery(self, notice_id, queue).apply_async()


def make_app(settings: Settings, topology: Topology) -> DoorbellApp:
    """Make an app that connects to nothing until it is used.

    Raises:
        ConfigurationError: when librabbitmq is importable: `amqp://` would silently
            use it, without TLS and without publisher confirms.
    """
    if importlib.util.find_spec("librabbitmq") is not None:
        raise ConfigurationError(
            "the package librabbitmq is installed: it has neither publisher confirms nor TLS,"
            " and Celery would use it silently. Remove it: pip uninstall librabbitmq"
        )
    tolerate_headers()
    move_together()
    app = DoorbellApp(
        "doorbell",
        task_cls=StepTask,
        backend="services.ledger.backend:LedgerBackend",
        set_as_current=True,
    )
    app.conf.update(celery_settings(topology))
    app.conf.update(_messaging(settings))
    app.conf.update(_worker())
    app.ledger = Ledger(app, settings.database_url)
    app.heartbeat = Heartbeat(settings.heartbeat_file)
    return app


def _messaging(settings: Settings) -> dict[str, Any]:
    return {
        "broker_url": settings.broker_url,
        "broker_use_ssl": settings.broker_tls.options() if settings.broker_tls else False,
        "broker_transport_options": {"confirm_publish": True},
        "broker_heartbeat": HEARTBEAT_SECONDS,
        "broker_connection_timeout": 4,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        "broker_pool_acquire_timeout": 10,
        "task_publish_retry_policy": {
            "max_retries": 3,
            "interval_start": 0.1,
            "interval_step": 0.3,
            "interval_max": 1,
        },
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "task_acks_late": True,
        "task_acks_on_failure": False,
        "task_acks_on_timeout": False,
        "task_reject_on_worker_lost": True,
        # It would skip the join when a header's leaf is redelivered; the ledger deduplicates.
        "worker_deduplicate_successful_tasks": False,
        "task_allow_error_cb_on_chord_header": False,
        "result_extended": True,
        # Whoever looks at a dead letter wants to know why, whether or not the sender does.
        "task_store_errors_even_if_ignored": True,
        "result_expires": RESULT_EXPIRES_SECONDS,
        "enable_utc": True,
        "timezone": "UTC",
        "event_queue_ttl": 60,
    }


def _worker() -> dict[str, Any]:
    return {
        "worker_pool": "services.runner.pool:StepPool",
        "worker_consumer": "services.runner.consumer:StepConsumer",
        # While one list is being committed, the next is already here.
        "worker_prefetch_multiplier": 2,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_send_task_events": True,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }
