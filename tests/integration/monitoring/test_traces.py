"""One trace over the whole canvas of a login, as an OpenTelemetry collector gets it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import time_ns
from typing import Any
from uuid import UUID, uuid4

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from services.domain.errors import ConfigurationError
from services.observability.spans import ENDPOINTS, make_spans
from tests.support.cluster import IPHONE, Cluster, running_cluster
from tests.support.fleet import wait_until
from tests.support.outlier_api import AdjustableOutlierApi
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import PrivateRabbitMQ


@dataclass(slots=True)
class Collector:
    """The spans that came over OTLP, each with its process's part, and the bytes they came in."""

    spans: list[tuple[str, Span]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    port: int = 0

    def trace(self, workflow_id: str) -> list[tuple[str, Span]]:
        wanted = UUID(workflow_id).bytes
        return [(part, span) for part, span in list(self.spans) if span.trace_id == wanted]


@contextmanager
def running_collector() -> Iterator[Collector]:
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.raw.append(body)
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                known = {each.key: each.value.string_value for each in group.resource.attributes}
                for scope in group.scope_spans:
                    found.spans += [(known["service.name"], span) for span in scope.spans]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as found:
        yield found


@pytest.fixture(scope="module")
def api() -> Iterator[AdjustableOutlierApi]:
    with AdjustableOutlierApi() as running:
        yield running


@pytest.fixture(scope="module")
def cluster(
    node: PrivateRabbitMQ,
    postgres: PrivatePostgres,
    collector: Collector,
    api: AdjustableOutlierApi,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    with (
        postgres.database() as url,
        running_cluster(
            *(node, url, tmp_path_factory.mktemp("traced"), api.url),
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}",
            OTEL_BSP_SCHEDULE_DELAY="200",
        ) as running,
    ):
        yield running


def whole_trace(cluster: Cluster, collector: Collector, workflow_id: str) -> list[tuple[str, Span]]:
    """All spans of a workflow that has ended: one for the login, one for each step."""
    [[steps]] = cluster.rows(
        "SELECT count(*) FROM step WHERE workflow_id = %s AND attempts > 0", workflow_id
    )

    def arrived() -> bool:
        return len({span.span_id for _, span in collector.trace(workflow_id)}) > int(steps)

    wait_until(arrived, 30, f"{steps} spans and the login's")
    return collector.trace(workflow_id)


def test_one_trace_holds_the_whole_canvas(cluster: Cluster, collector: Collector) -> None:
    """Each step once, below the step before it, in the pool that ran it; personal data in none."""
    user = f"traced-{uuid4().hex[:8]}"
    first = cluster.post(user)
    assert cluster.ended(first) == ["done"]
    workflow_id = cluster.post(user, IPHONE)
    assert cluster.ended(workflow_id) == ["done"]
    trace = whole_trace(cluster, collector, workflow_id)
    spans = {span.span_id: span for _, span in trace}
    assert len(spans) == len(trace)

    [login] = [span for span in spans.values() if not span.parent_span_id]
    assert login.name == "login"
    for span in spans.values():
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        if span is not login:
            parent = spans[span.parent_span_id]
            assert parent.start_time_unix_nano <= span.start_time_unix_nano, span.name
    ran = cluster.rows(
        "SELECT task, queue FROM step WHERE workflow_id = %s AND attempts > 0", workflow_id
    )
    told = [(span.name, part) for part, span in trace if span is not login]
    assert sorted(told) == sorted(ran)
    assert {"notifications.notify_user", "external_api.score_login"} <= {name for name, _ in told}
    for secret in (user, "203.0.113.7", "iPhone"):
        assert not any(secret.encode() in body for body in collector.raw)


def test_a_failed_step_says_why(
    cluster: Cluster, collector: Collector, api: AdjustableOutlierApi
) -> None:
    """The span of what was refused is an error; the trace is whole all the same."""
    api.status = 422
    workflow_id = cluster.post(f"refused-{uuid4().hex[:8]}")
    assert cluster.ended(workflow_id) == ["failed"]
    api.reset()
    trace = whole_trace(cluster, collector, workflow_id)
    wrong = [span for _, span in trace if span.status.code == Status.STATUS_CODE_ERROR]
    assert [span.name for span in wrong] == ["external_api.score_login"]
    assert wrong[0].status.message == "refused"


def test_a_share_of_the_logins_is_sampled_each_whole(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By OpenTelemetry's own variables; two processes decide alike."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.port}")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    door, pool = (make_spans(part, "test", os.environ) for part in ("sampled-door", "sampled-pool"))
    assert door is not None
    assert pool is not None
    for _ in range(400):
        workflow_id = uuid4()
        door.accepted(workflow_id, 1, 2)
        step = ("try.step", "queue", "done", datetime.now(UTC), time_ns(), None)
        pool.ended(workflow_id, str(uuid4()), None, *step)
    door.close()
    pool.close()
    seen = {
        part: {span.trace_id for told, span in collector.spans if told == part}
        for part in ("sampled-door", "sampled-pool")
    }
    assert 50 < len(seen["sampled-door"]) < 150
    assert seen["sampled-door"] == seen["sampled-pool"]


def test_an_address_that_is_none_is_named() -> None:
    for name in ENDPOINTS:
        with pytest.raises(ConfigurationError, match=name):
            make_spans("gateway", "test", {name: "collector:4318"})


def test_without_a_collector_nothing_of_it_is_loaded() -> None:
    """Neither time nor memory for what is switched off."""
    assert make_spans("gateway", "test", dict.fromkeys(ENDPOINTS, "")) is None
    script = (
        "import sys, services.worker, services.gateway.__main__;"
        "sys.exit('opentelemetry.sdk' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
