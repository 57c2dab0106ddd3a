"""RabbitMQ shows what the rules ask it for, under these names, where Prometheus looks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import yaml

from routing.load import load
from routing.topology import dead_queue_name
from tests.support.fleet import wait_until
from tests.support.rabbitmq import PrivateRabbitMQ

PROMETHEUS = Path(__file__).resolve().parents[3] / "deploy" / "prometheus"
TOPOLOGY = load()
EXPRESSIONS: list[str] = [
    rule["expr"]
    for path in (PROMETHEUS / "rules").glob("*.yml")
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
ALARMS = {"memory_used_watermark", "free_disk_space_watermark", "file_descriptor_limit"}


def scrape(node: PrivateRabbitMQ) -> str:
    """What the jobs of the broker find on their pages."""
    jobs: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())[
        "scrape_configs"
    ]
    return "\n".join(
        httpx.get(
            f"http://127.0.0.1:{node.prometheus_port}{job.get('metrics_path', '/metrics')}",
            params=job.get("params"),
            trust_env=False,
        )
        .raise_for_status()
        .text
        for job in jobs
        if job["job_name"].startswith("rabbitmq")
    )


def test_the_broker_shows_every_metric_that_a_rule_names(node: PrivateRabbitMQ) -> None:
    """A name that no page has makes an alert that never fires."""
    named = {
        name
        for expression in EXPRESSIONS
        for name in re.findall(r"\brabbitmq_\w+", expression)
        if not name.startswith("rabbitmq_alarms")
    }
    assert all(any(alarm in expression for expression in EXPRESSIONS) for alarm in ALARMS)
    wanted = named | {f"rabbitmq_alarms_{alarm}" for alarm in ALARMS}

    def missing() -> set[str]:
        return wanted - set(re.findall(r"^(rabbitmq_\w+)", scrape(node), re.MULTILINE))

    assert named
    wait_until(lambda: not missing(), 30, f"every one of {sorted(wanted)}")


def test_a_queue_that_nobody_consumes_has_a_sample_that_says_so(node: PrivateRabbitMQ) -> None:
    """Also one that nobody has ever consumed."""
    wanted = {
        f'{metric}{{vhost="{TOPOLOGY.vhost}",queue="{queue}"}} 0'
        for name in TOPOLOGY.queues
        for metric, queue in (
            ("rabbitmq_detailed_queue_consumers", name),
            ("rabbitmq_detailed_queue_messages", name),
            ("rabbitmq_detailed_queue_messages", dead_queue_name(name)),
        )
    }
    wait_until(lambda: wanted <= set(scrape(node).splitlines()), 30, f"all of {sorted(wanted)}")
