"""The Celery app that Flower looks through: `celery --app=deploy.flower.app flower`.

It knows the broker alone, by the same DOORBELL_BROKER_... variables as every other process, and logs as they do.
"""

from __future__ import annotations

import sys

from celery import Celery

from services.domain.errors import ConfigurationError
from services.observability import logs
from services.settings import load_observer

try:
    _settings = load_observer()
except ConfigurationError as error:
    sys.exit(str(error))

# Tornado leaves a handler that is there alone.
logs.configure(_settings.log_level, process="flower", host=_settings.host_name)

EVENTS_KEPT_SECONDS = 120.0
"""How long events wait for a Flower that stands still; Celery's 5 s are less than its collector may take."""

app = Celery("flower", broker=_settings.broker_url, set_as_current=False)
app.conf.update(
    broker_use_ssl=_settings.broker_tls.options() if _settings.broker_tls else False,
    accept_content=["json"],
    event_queue_ttl=EVENTS_KEPT_SECONDS,
)
