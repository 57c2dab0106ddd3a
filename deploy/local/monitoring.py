"""Prometheus, Alertmanager and Flower of a local cluster, with the configurations of deploy/."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
import yaml

from deploy.local import rabbitmq
from deploy.local.layout import REPOSITORY, Layout
from deploy.local.passwords import read_or_make, write
from deploy.local.ports import HOST
from deploy.local.process import ClusterError, Probe, Process
from routing.topology import Topology

FLOWERS: Mapping[str, str] = {"flower": "flower", "flower_viewers": "viewer"}
"""Flower's instances, for operators and for those who only look, each with the one user that it lets in."""

_PROMETHEUS_CONFIGURATION = REPOSITORY / "deploy" / "prometheus" / "prometheus.yml"
_RULES = REPOSITORY / "deploy" / "prometheus" / "rules"
_ALERTMANAGER_CONFIGURATION = REPOSITORY / "deploy" / "alertmanager" / "alertmanager.yml"
_FLOWER_CONFIGURATION = REPOSITORY / "deploy" / "flower" / "flowerconfig.py"


_CHECK_SECONDS = 30.0


def answers(url: str, auth: tuple[str, str] | None = None) -> Probe:
    """A probe that wants a good answer to GET."""

    def probe() -> None:
        requests.get(url, auth=auth, timeout=5).raise_for_status()

    return probe


def flower_auth(layout: Layout, name: str) -> tuple[str, str]:
    """Who is let in by an instance of Flower: name and password."""
    return FLOWERS[name], read_or_make(layout.secrets / f"{name}_password")


def configure(
    layout: Layout, targets: Mapping[str, Mapping[str, int]], receivers: Path | None = None
) -> None:
    """Write the configurations of Prometheus, with its rules, and of Alertmanager.

    targets: whom Prometheus scrapes: for each job its instances' ports by name. The pool of a worker
        is the part of its name before the dot.
    receivers: a file that says who is told of alerts, as in deploy/alertmanager/README.md.

    Raises:
        ClusterError: that file says something else.
    """
    # It may hold secrets of those who are told.
    write(_alerting(layout), alerting(receivers))
    # Targets and rules are found relative to the configuration, so it stands beside them.
    shutil.copy(_PROMETHEUS_CONFIGURATION, _configuration(layout))
    shutil.rmtree(_rules(layout), ignore_errors=True)
    shutil.copytree(_RULES, _rules(layout))
    directory = layout.prometheus / "targets"
    directory.mkdir(exist_ok=True)
    for job, instances in targets.items():
        content = [
            {
                "targets": [f"{HOST}:{port}"],
                "labels": {"pool": name.partition(".")[0]} if job == "workers" else {},
            }
            for name, port in sorted(instances.items())
        ]
        temporary = directory / f".{job}.new"
        temporary.write_text(json.dumps(content, indent=2) + "\n")
        temporary.replace(directory / f"{job}.json")


def alerting(receivers: Path | None) -> str:
    """Alertmanager's configuration, its receivers filled from a file.

    Raises:
        ClusterError: the file names no receiver, or one that is not there.
    """
    configuration: dict[str, Any] = yaml.safe_load(_ALERTMANAGER_CONFIGURATION.read_text())
    told = {} if receivers is None else _read(receivers)
    named = [receiver["name"] for receiver in configuration["receivers"]]
    if unknown := told.keys() - set(named):
        raise ClusterError(f"{receivers}: {', '.join(sorted(unknown))}: use {', '.join(named)}")
    configuration["receivers"] = [{"name": name, **told.get(name, {})} for name in named]
    return yaml.safe_dump(configuration, sort_keys=False)


def check(layout: Layout, receivers: Path | None) -> None:
    """Have Alertmanager's own tool look at a file of receivers, and keep a copy of it.

    Raises:
        ClusterError: it would not take them.
    """
    tried = layout.alertmanager / "tried.yml"
    write(tried, alerting(receivers))
    try:
        looked = subprocess.run(
            [_binary("amtool"), "check-config", tried],
            capture_output=True,
            text=True,
            check=False,
            timeout=_CHECK_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(
            f"{receivers}: amtool has not looked at it in {_CHECK_SECONDS:.0f} s"
        ) from error
    finally:
        # It may hold secrets.
        tried.unlink()
    if looked.returncode:
        said = " ".join((looked.stdout.partition("FAILED:")[2] or looked.stderr).split())
        raise ClusterError(
            f"{receivers}: Alertmanager would not take it ({said or 'no reason given'}):"
            " give make up another ALERT_RECEIVERS, or none"
        )
    copy = _last_receivers(layout)
    if receivers is None:
        copy.unlink(missing_ok=True)
    else:
        write(copy, receivers.read_text())


def last_receivers(layout: Layout) -> str:
    """Where the receivers are that were in order when they were last looked at; empty without any."""
    copy = _last_receivers(layout)
    return str(copy) if copy.exists() else ""


def processes(layout: Layout, ports: Mapping[str, int], links: Mapping[str, str]) -> list[Process]:
    """Prometheus, with `links` in its environment, and Alertmanager."""
    prometheus, alertmanager = (
        f"{HOST}:{ports['prometheus']}",
        f"{HOST}:{ports['alertmanager']}",
    )
    return [
        Process(
            name="prometheus",
            command=(
                _binary("prometheus"),
                f"--config.file={_configuration(layout)}",
                f"--storage.tsdb.path={layout.prometheus / 'data'}",
                "--storage.tsdb.retention.time=7d",
                f"--web.listen-address={prometheus}",
                "--enable-feature=expand-external-labels",
            ),
            directory=layout.prometheus,
            environment={
                "CONFIGURATION_DIGEST": _digest(_configuration(layout), *_rules_of(layout)),
                **links,
            },
            probe=answers(f"http://{prometheus}/-/ready"),
            stop_seconds=20,
            address=f"http://{prometheus}",
        ),
        Process(
            name="alertmanager",
            command=(
                _binary("prometheus-alertmanager"),
                f"--config.file={_alerting(layout)}",
                f"--storage.path={layout.alertmanager}",
                f"--web.listen-address={alertmanager}",
                "--cluster.listen-address=",  # one of its kind: no gossip port
            ),
            directory=layout.alertmanager,
            environment={"CONFIGURATION_DIGEST": _digest(_alerting(layout))},
            probe=answers(f"http://{alertmanager}/-/ready"),
            address=f"http://{alertmanager}",
        ),
    ]


def flower(layout: Layout, ports: Mapping[str, int], topology: Topology, name: str) -> Process:
    """One of `FLOWERS`. It reads secrets from its environment, which only the cluster's owner sees."""
    address = f"http://{HOST}:{ports[name]}"
    auth = flower_auth(layout, name)
    broker = rabbitmq.write_url(layout, "flower", ports["rabbitmq"], topology.vhost)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY),
        "DOORBELL_BROKER_URL_FILE": str(broker),
        "FLOWER_BASIC_AUTH": ":".join(auth),
    }
    if topology.users["flower"].tag != "none":
        management = f"{HOST}:{ports['rabbitmq_management']}"
        broker_password = rabbitmq.password(layout, "flower")
        environment["FLOWER_BROKER_API"] = f"http://flower:{broker_password}@{management}/api/"
    return Process(
        name=name,
        command=(
            sys.executable,
            "-m",
            "celery",
            "--app=deploy.flower.app",
            "flower",
            f"--conf={_FLOWER_CONFIGURATION}",
            f"--address={HOST}",
            f"--port={ports[name]}",
            *(() if name == "flower" else ("--read-only",)),
        ),
        directory=layout.state,
        environment=environment,
        probe=answers(address, auth),
        address=address,
    )


def _configuration(layout: Layout) -> Path:
    return layout.prometheus / "prometheus.yml"


def _rules(layout: Layout) -> Path:
    return layout.prometheus / "rules"


def _rules_of(layout: Layout) -> list[Path]:
    return sorted(_rules(layout).glob("*.yml"))


def _alerting(layout: Layout) -> Path:
    return layout.alertmanager / "alertmanager.yml"


def _last_receivers(layout: Layout) -> Path:
    return layout.alertmanager / "receivers.yml"


def _digest(*files: Path) -> str:
    """When it changes, `up` restarts the program; whom Prometheus scrapes is read anew without that."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes() if file.exists() else b"")
    return digest.hexdigest()


def _read(receivers: Path) -> dict[str, dict[str, Any]]:
    try:
        told = yaml.safe_load(receivers.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ClusterError(
            f"{receivers} cannot be read: {error}; give make up another ALERT_RECEIVERS, or none"
        ) from error
    if not isinstance(told, dict) or not all(
        isinstance(name, str) and isinstance(value, dict) for name, value in told.items()
    ):
        raise ClusterError(f"{receivers}: give each receiver a mapping, such as webhook_configs")
    return told


def _binary(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/bin:/usr/local/bin")
    if path is None:
        raise ClusterError(f"{name} is not installed: call deploy/local/setup")
    return str(Path(path))
