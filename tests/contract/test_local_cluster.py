"""The local cluster's description agrees with the topology, with Prometheus, and with what is secret."""

from __future__ import annotations

import argparse
import configparser
import json
import socket
import stat
from pathlib import Path

import pytest
import yaml

from deploy.local import cluster as local_cluster
from deploy.local import monitoring, passwords, ports, rabbitmq
from deploy.local.__main__ import parse_counts
from deploy.local.choices import Choices
from deploy.local.cluster import Cluster
from deploy.local.layout import REPOSITORY, Layout
from deploy.local.process import ClusterError, Process
from deploy.local.readiness import explain
from deploy.local.supervision import configure
from routing.load import load

COUNTS = {"db_writes": 3}


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """A described cluster with three processes for one pool; nothing of it runs."""
    layout = Layout(tmp_path / "cluster")
    layout.prepare()
    topology = load()
    counts = local_cluster.complete(COUNTS, topology)
    chosen = local_cluster.choose_ports(layout, counts, is_running=False, usual_ports=False)
    for user in (*topology.pools, *topology.users):
        rabbitmq.password(layout, user)
    rabbitmq.configure(layout, chosen, topology)
    monitoring.configure(layout, local_cluster.targets(chosen, counts))
    return local_cluster.describe(layout, topology, chosen, counts, Choices().links)


def test_every_pool_has_its_processes(cluster: Cluster) -> None:
    """One process for each pool of the topology, more where more were asked for."""
    names = {process.name for process in cluster.product}

    expected = {f"{pool}.1" for pool in cluster.topology.pools} | {"db_writes.2", "db_writes.3"}
    assert {name for name in names if "." in name} == expected


def test_no_password_is_on_a_command_line(cluster: Cluster) -> None:
    """Command lines are seen by everybody on the machine."""
    secrets = read_secrets(cluster.layout)
    lines = {process.name: " ".join(process.command) for process in cluster.processes}

    assert [name for name, line in lines.items() if any(s in line for s in secrets)] == []


def test_a_worker_is_told_its_own_secrets_and_no_others(cluster: Cluster) -> None:
    """Each process gets the broker URL of its own user, as a file."""
    for process in cluster.product:
        if process.name in monitoring.FLOWERS:
            continue
        user = {"schedule": "beat"}.get(process.name, process.name.partition(".")[0])
        expected = str(cluster.layout.secrets / "broker_url" / user)
        assert process.environment["DOORBELL_BROKER_URL_FILE"] == expected
        assert not any(s in str(process.environment) for s in read_secrets(cluster.layout))


def test_secrets_are_for_the_owner_alone(cluster: Cluster) -> None:
    """No secret file and no file that contains secrets can be read by others."""
    configure(cluster.layout, cluster.processes)
    files = [path for path in cluster.layout.secrets.rglob("*") if path.is_file()]
    files += [cluster.layout.supervisor_configuration, cluster.layout.rabbitmq / "definitions.json"]

    assert {
        path.name: stat.S_IMODE(path.stat().st_mode) & 0o077 for path in files
    } == dict.fromkeys((path.name for path in files), 0)


def test_prometheus_scrapes_what_there_is(cluster: Cluster) -> None:
    """Every job finds its file of targets, and every file belongs to a job."""
    configuration = yaml.safe_load((REPOSITORY / "deploy/prometheus/prometheus.yml").read_text())
    wanted = {
        name
        for job in configuration["scrape_configs"]
        for discovery in job["file_sd_configs"]
        for name in discovery["files"]
    }
    directory = cluster.layout.prometheus

    assert wanted == {str(path.relative_to(directory)) for path in directory.glob("targets/*.json")}


def test_every_worker_process_is_scraped(cluster: Cluster) -> None:
    """Each has a port of its own, and is labelled with its pool."""
    groups = json.loads((cluster.layout.prometheus / "targets" / "workers.json").read_text())
    workers = [p.environment["DOORBELL_METRICS_PORT"] for p in cluster.product if "." in p.name]

    assert sorted(group["targets"][0].rpartition(":")[2] for group in groups) == sorted(workers)
    assert {group["labels"]["pool"] for group in groups} == set(cluster.topology.pools)


def test_a_worker_outlives_its_grace_period(cluster: Cluster) -> None:
    """The supervisor kills later than the worker would end itself."""
    grace = {name: pool.grace_seconds for name, pool in cluster.topology.pools.items()}
    workers = [process for process in cluster.product if "." in process.name]

    assert all(p.stop_seconds > grace[p.name.partition(".")[0]] for p in workers)


def test_ports_are_remembered_and_replaced_when_taken(tmp_path: Path) -> None:
    """A port stays until something else took it while the cluster was down."""
    file = tmp_path / "ports.json"
    first = ports.choose(file, {"a": None, "b": None}, is_running=False)

    with socket.create_server((ports.HOST, first["a"])):
        running = ports.choose(file, {"a": None, "b": None}, is_running=True)
        stopped = ports.choose(file, {"a": None, "b": None}, is_running=False)

    assert running == first
    assert stopped["b"] == first["b"]
    assert stopped["a"] != first["a"]


@pytest.mark.parametrize(
    "line", ["OSError: [Errno 98] Address already in use", "listener error: eaddrinuse", "started"]
)
def test_a_port_that_somebody_else_took_meanwhile_is_named_as_the_reason(
    tmp_path: Path, line: str
) -> None:
    """Two that start at once may choose the same one; while the cluster runs it keeps its ports."""
    layout = Layout(tmp_path)
    layout.prepare()
    layout.log("flower").write_text(f"{line}\n")
    said = explain(layout, {"flower": "is backoff"})
    assert said.startswith(f"flower is backoff; the end of {layout.log('flower')}:\n    {line}")
    assert ("make down, then make up: other ports are chosen" in said) == (line != "started")


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    """Asked for again, it is the same; it is long, and no other has it."""
    one, other = (passwords.read_or_make(tmp_path / name) for name in ("one", "other"))

    assert passwords.read_or_make(tmp_path / "one") == one
    assert len(one) >= 32
    assert one != other


def test_a_percent_sign_reaches_a_program(tmp_path: Path) -> None:
    """The supervisor expands %(name)s; ours are meant as they are."""
    layout = Layout(tmp_path)
    process = Process("p", ("run", "%h 'x'"), tmp_path, lambda: None, {"URL": "a%2Fb"})

    configure(layout, [process])

    parser = configparser.RawConfigParser()
    parser.read(layout.supervisor_configuration)
    assert parser["program:p"]["command"].startswith("run ")
    assert "%%h" in parser["program:p"]["command"]
    assert parser["program:p"]["environment"] == 'URL="a%%2Fb"'


def test_processes_of_a_pool_that_is_not_there_are_refused() -> None:
    """A misspelled pool is named, and so are those there are."""
    with pytest.raises(ClusterError, match=r"db_wrties.*device_checks"):
        local_cluster.complete({"db_wrties": 2}, load())


@pytest.mark.parametrize(
    "text", ["db_writes", "db_writes=", "db_writes=0", "db_writes=x", "db_writes=²", "=2="]
)
def test_a_number_of_processes_must_be_one(text: str) -> None:
    """What cannot be understood is refused with an example."""
    with pytest.raises(argparse.ArgumentTypeError, match="device_checks=2"):
        parse_counts(text)


@pytest.mark.parametrize("text", ["a=1,b=2", "a=1 b=2", " a=1, b=2 "])
def test_numbers_of_processes_are_read(text: str) -> None:
    """Commas and spaces both separate."""
    assert parse_counts(text) == {"a": 1, "b": 2}


def read_secrets(layout: Layout) -> list[str]:
    return [path.read_text().strip() for path in layout.secrets.rglob("*") if path.is_file()]


TOLD = """
page:
  webhook_configs: [{url: "http://127.0.0.1:1/secret"}]
"""


def test_who_is_told_of_alerts_is_filled_in(cluster: Cluster, tmp_path: Path) -> None:
    """Routes and inhibitions stay as they are; the file, which may hold secrets, is the owner's."""
    file = tmp_path / "receivers.yml"
    file.write_text(TOLD)
    monitoring.configure(cluster.layout, {}, file)
    written = cluster.layout.alertmanager / "alertmanager.yml"
    ours = yaml.safe_load((REPOSITORY / "deploy/alertmanager/alertmanager.yml").read_text())
    theirs = yaml.safe_load(written.read_text())

    told = {"name": "page", "webhook_configs": [{"url": "http://127.0.0.1:1/secret"}]}
    assert theirs == ours | {"receivers": [told, {"name": "ticket"}]}
    assert stat.S_IMODE(written.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["pgae: {}", "page: []", "- page", "page: {"])
def test_a_file_of_receivers_that_is_wrong_is_refused(text: str, tmp_path: Path) -> None:
    """Nobody learns from a missing page that a word was misspelled."""
    file = tmp_path / "receivers.yml"
    file.write_text(text)

    with pytest.raises(ClusterError, match="receivers"):
        monitoring.alerting(file)


def test_the_example_of_receivers_is_one(tmp_path: Path) -> None:
    """What the page shows can be used as it stands there."""
    page = (REPOSITORY / "deploy/alertmanager/README.md").read_text()
    file = tmp_path / "receivers.yml"
    file.write_text(page.partition("```yaml\n")[2].partition("```")[0])

    filled = yaml.safe_load(monitoring.alerting(file))["receivers"]
    assert [sorted(receiver) for receiver in filled] == [
        ["email_configs", "name", "webhook_configs"],
        ["email_configs", "name"],
    ]
