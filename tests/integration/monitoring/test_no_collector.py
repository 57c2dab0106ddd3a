"""Logins while the OpenTelemetry collector that is configured is not there."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from tests.support.cluster import running_cluster
from tests.support.outlier_api import AdjustableOutlierApi
from tests.support.ports import free_port
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import PrivateRabbitMQ


def test_nobody_waits_for_a_collector_that_is_not_there(
    node: PrivateRabbitMQ, postgres: PrivatePostgres, tmp_path: Path
) -> None:
    """Logins end as ever."""
    nobody = f"http://127.0.0.1:{free_port()}"
    with (
        AdjustableOutlierApi() as api,
        postgres.database() as url,
        running_cluster(node, url, tmp_path, api.url, OTEL_EXPORTER_OTLP_ENDPOINT=nobody) as alone,
    ):
        logins = [alone.post(f"user-{uuid4().hex[:8]}") for _ in range(20)]
        assert set(alone.ended(*logins)) == {"done"}
