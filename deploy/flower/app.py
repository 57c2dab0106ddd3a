"""The Celery app that Flower looks through: `celery --app=deploy.flower.app flower`.

It knows the broker alone, by the same DOORBELL_BROKER_... variables as every other process.
"""

from __future__ import annotations

import sys

from celery import Celery

from services.domain.errors import ConfigurationError
from services.settings import load_broker

try:
    _url, _tls = load_broker()
except ConfigurationError as error:
    sys.exit(str(error))

EVENTS_KEPT_SECONDS = 120.0
"""How long events wait for a Flower that stands still; Celery's 5 s are less than its collector may take."""

app = Celery("flower", broker=_url, set_as_current=False)
app.conf.update(
    broker_use_ssl=_tls.options() if _tls else False,
    accept_content=["json"],
    event_queue_ttl=EVENTS_KEPT_SECONDS,
)
