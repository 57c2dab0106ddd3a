"""Spans of logins and their steps, for an OpenTelemetry collector where one is named."""

from __future__ import annotations

import atexit
from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import UUID

from services.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_RETRIED = frozenset({"retried", "requeued", "replaced"})
_FAILED = frozenset({"failed", "dead", "rejected"})


def make_spans(service: str, host: str, environ: Mapping[str, str]) -> Spans | None:
    """What sends spans; None unless OpenTelemetry's own variables name a collector.

    service: the process's part in Doorbell: `gateway`, or a pool.

    Raises:
        ConfigurationError: the collector's address is no HTTP address.
    """
    named = next((name for name in ENDPOINTS if environ.get(name)), None)
    if named is None or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        address = urlsplit(environ[named])
        is_address = address.scheme in ("http", "https") and bool(address.hostname)
    except ValueError:
        is_address = False
    if not is_address:
        raise ConfigurationError(
            f"{named}: {environ[named]!r} is no address of a collector, such as http://collector:4318"
        )
    return Spans(service, host)


class Spans:
    """One trace for each workflow: its id is the workflow's, and each step's span hangs below the step before it.

    Both ids follow from the ledger's, so that no message has to carry them, and whoever
    publishes a step, the relay or a replay too, keeps it in its trace. A span is sent
    after its commit, from a thread of its own; nobody waits for a collector, and what
    it does not take in time is dropped. An end that is committed once is sent once at
    most. Sampling, headers and limits are OpenTelemetry's variables (Environment
    Variable Specification); a workflow is sampled whole or not at all.
    """

    def __init__(self, service: str, host: str) -> None:
        # Heavy, and needed by nobody who has no collector.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create({"service.namespace": "doorbell", "host.name": host})
        self._resource = resource.merge(Resource({"service.name": service}))
        self._sampler = TracerProvider(shutdown_on_exit=False).sampler
        self._processor = BatchSpanProcessor(OTLPSpanExporter())
        atexit.register(self.close)

    def accepted(self, workflow_id: UUID, began_ns: int, ended_ns: int) -> None:
        """A login was accepted: the span that all others of its trace hang below.

        began_ns, ended_ns: nanoseconds since 1970.
        """
        self._send(workflow_id, "login", str(workflow_id), None, began_ns, ended_ns, {}, None)

    def ended(
        self,
        workflow_id: UUID,
        step_id: str,
        parent_id: str | None,
        task: str,
        queue: str,
        outcome: str,
        began_at: datetime,
        ended_ns: int,
        reason: str | None,
    ) -> None:
        """An attempt of a step has ended, and its end is committed."""
        known = {
            "celery.task_id": step_id,
            "celery.task_name": task,
            "messaging.system": "rabbitmq",
            "messaging.destination.name": queue,
            "doorbell.outcome": outcome,
        }
        # Only the last attempt has the step's own id: those that follow it hang below that one.
        own = f"{step_id} {ended_ns}" if outcome in _RETRIED else step_id
        began_ns = min(int(began_at.timestamp() * 1e9), ended_ns)
        failure = (reason or outcome) if outcome in _FAILED else None
        parent = parent_id or str(workflow_id)
        self._send(workflow_id, task, own, parent, began_ns, ended_ns, known, failure)

    def close(self) -> None:
        """Send what waits, for as long as OpenTelemetry's time-outs allow."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]  # of OpenTelemetry's

    def _send(
        self,
        workflow_id: UUID,
        name: str,
        own: str,
        parent: str | None,
        began_ns: int,
        ended_ns: int,
        known: Mapping[str, str],
        failure: str | None,
    ) -> None:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.trace.sampling import Decision
        from opentelemetry.trace import SpanKind, Status, StatusCode

        # Samplers by ratio look at the lower half of an id, which begins alike in all UUIDs.
        even = int.from_bytes(blake2b(workflow_id.bytes, digest_size=16).digest())
        sampled = self._sampler.should_sample(None, even, name)
        if sampled.decision != Decision.RECORD_AND_SAMPLE:
            return
        span = ReadableSpan(
            name,
            _context(workflow_id, own),
            _context(workflow_id, parent) if parent else None,
            self._resource,
            {"doorbell.workflow_id": str(workflow_id), **known},
            kind=SpanKind.CONSUMER if parent else SpanKind.SERVER,
            status=Status(StatusCode.ERROR, failure) if failure else Status(StatusCode.UNSET),
            start_time=began_ns,
            end_time=ended_ns,
        )
        self._processor.on_end(span)


def _context(workflow_id: UUID, named: str) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    span_id = int.from_bytes(blake2b(named.encode(), digest_size=8).digest())
    return SpanContext(workflow_id.int, span_id, False, TraceFlags(TraceFlags.SAMPLED))
