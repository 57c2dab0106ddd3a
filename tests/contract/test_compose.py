"""The compose files agree with the topology, with Prometheus' configuration, and with what is secret."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from routing.load import load
from routing.permissions import permissions
from services.settings import load as load_settings

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "deploy" / "docker"
TOPOLOGY = load()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
CLUSTER: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.cluster.yml").read_text())
BROKERS: dict[str, dict[str, Any]] = {
    "rabbitmq": SERVICES["rabbitmq"] | CLUSTER["services"]["rabbitmq"],
    **{name: CLUSTER["services"][name] for name in ("rabbitmq-2", "rabbitmq-3")},
}
ADDED = {name: service for name, service in CLUSTER["services"].items() if name not in SERVICES}
OURS = {name for name, service in SERVICES.items() if "FLEET_IMAGE" in service["image"]}
WORKERS = {name: service for name, service in SERVICES.items() if name.startswith("worker-")}
ONE_SHOTS = {"definitions", "migrate", "doorbell", "cluster"}
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
BUILD_ARGUMENTS: dict[str, str] = SERVICES["definitions"]["build"]["args"]
PUBLISHED = {"gateway", "flower", "flower-viewers", "prometheus", "grafana"}
BROKER_USERS = {
    "flower": "flower",
    "flower-viewers": "flower",
    "gateway": "gateway",
    "beat": "beat",
} | {
    "migrate": "operator",
    "doorbell": "operator",
}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that deploy/docker/secrets makes."""
    directory = tmp_path_factory.mktemp("compose") / "private"
    make_secrets(str(directory)).check_returncode()
    return directory


def test_compose_runs_every_pool_and_no_other() -> None:
    """A service for each pool of the topology, named after it, with its pool as argument."""
    commands = {name: service["command"] for name, service in WORKERS.items()}

    assert commands == {f"worker-{pool}": ["worker", pool] for pool in TOPOLOGY.pools}


def test_each_pool_has_a_variable_for_its_number() -> None:
    """Every `up` brings the same number of each, one unless a variable says otherwise."""
    numbers = {name: service["scale"] for name, service in WORKERS.items()}

    assert numbers == {f"worker-{p}": f"${{{p.upper()}_PROCESSES:-1}}" for p in TOPOLOGY.pools}


def test_a_worker_outlives_its_grace_period() -> None:
    """The engine kills later than the worker would end itself."""
    grace = {f"worker-{name}": pool.grace_seconds for name, pool in TOPOLOGY.pools.items()}
    stop = {name: int(s["stop_grace_period"].removesuffix("s")) for name, s in WORKERS.items()}

    assert {name for name in stop if stop[name] <= grace[name]} == set()


def test_images_are_variables_with_pinned_defaults() -> None:
    """Another registry is a variable away, and without one each `up` runs the same versions."""
    services = [*SERVICES.values(), *ADDED.values()]
    images = [service["image"] for service in services] + [BUILD_ARGUMENTS["PYTHON_IMAGE"]]

    pattern = re.compile(r"\$\{[A-Z]+_IMAGE:-[a-z/]+:v?\d+\.\d+[.\w-]*\}")
    assert [image for image in images if not pattern.fullmatch(image)] == []


def test_the_dockerfile_and_compose_have_the_same_defaults() -> None:
    """A build by hand gives the same image."""
    arguments = dict(re.findall(r"^ARG ([A-Z_]+)=(.+)$", DOCKERFILE, re.MULTILINE))
    given = {
        name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in BUILD_ARGUMENTS.items()
    }

    assert given == {name: arguments[name] for name in given}
    assert arguments.keys() - given.keys() == {"SOURCE_DATE_EPOCH"}


def test_the_image_has_the_projects_version() -> None:
    """Its label and its name say which version it is, unless something else is asked for."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert BUILD_ARGUMENTS["VERSION"] == f"${{IMAGE_VERSION:-{version}}}"
    assert SERVICES["definitions"]["image"] == f"${{FLEET_IMAGE:-doorbell:{version}}}"


def test_only_doors_for_people_and_applications_are_published() -> None:
    """Neither broker nor database has a port on the host; the others listen on loopback alone."""
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert ports.keys() == PUBLISHED
    assert all(port.startswith("127.0.0.1:") for name in ports for port in ports[name])


@pytest.mark.parametrize("name", sorted(SERVICES | ADDED))
def test_a_service_is_confined(name: str) -> None:
    """No root, no capability, no new privilege, nothing to write on, limits, an init that reaps."""
    service = (SERVICES | ADDED)[name]

    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"]
    assert service["read_only"]
    assert {"mem_limit", "cpus", "pids_limit"} <= service.keys()
    # A machine with two processors must be able to start it.
    assert service["cpus"] <= 2
    if name not in OURS:
        assert service["user"] in {"rabbitmq", "postgres", "nobody", "haproxy", "472"}


@pytest.mark.parametrize("name", sorted((SERVICES | ADDED).keys() - ONE_SHOTS))
def test_a_service_comes_back_and_shows_its_health(name: str) -> None:
    """What has to run has a health check of its own and is started again."""
    service = (SERVICES | ADDED)[name]

    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", sorted(ONE_SHOTS))
def test_what_runs_once_is_not_started_again(name: str) -> None:
    """It ends, and its end is what others wait for."""
    assert (SERVICES | ADDED)[name]["restart"] == "no"


def test_the_brokers_of_a_cluster_are_alike() -> None:
    """They differ in their names and their data alone, and from the broker that is alone in how they start."""
    different = {"hostname", "volumes", "networks", "depends_on"}
    [first, *others] = [
        {key: value for key, value in broker.items() if key not in different}
        for broker in BROKERS.values()
    ]
    mounts = [
        {volume for volume in broker["volumes"] if volume.startswith("./")}
        for broker in BROKERS.values()
    ]

    assert others == [first, first]
    # Compose puts together what both files mount.
    assert mounts[1] == mounts[2]
    assert mounts[1] <= mounts[0] | set(SERVICES["rabbitmq"]["volumes"])


def test_the_brokers_of_a_cluster_know_each_other() -> None:
    """Host names, the list of nodes, the balancer's servers and Prometheus' targets are the same three."""
    names = {broker["hostname"] for broker in BROKERS.values()}
    formation = (DOCKER / "cluster" / "rabbitmq.conf").read_text()
    balancer = (DOCKER / "cluster" / "haproxy.cfg").read_text()
    [group] = json.loads((DOCKER / "cluster" / "rabbitmq.json").read_text())

    assert set(re.findall(r"= rabbit@(\S+)$", formation, re.MULTILINE)) == names
    assert set(re.findall(r"^ +server (\S+) \1:5672$", balancer, re.MULTILINE)) == names
    assert set(group["targets"]) == {f"{name}:15692" for name in names}
    assert BROKERS["rabbitmq"]["networks"] == {"brokers": {"aliases": ["rabbitmq-1"]}}


def test_each_process_has_its_own_broker_user() -> None:
    """A worker is its pool's user; no process gets another's address."""
    users = BROKER_USERS | {f"worker-{pool}": pool for pool in TOPOLOGY.pools}
    given = {name: broker_secrets(service) for name, service in SERVICES.items()}

    assert {name: found for name, found in given.items() if found} == {
        name: [f"broker_url_{user}"] for name, user in users.items()
    }
    assert set(users.values()) == {user["name"] for user in permissions(TOPOLOGY)["users"]}


def test_every_secret_is_made_and_used(secrets: Path) -> None:
    """One command makes exactly the files that compose mounts, and some service wants each."""
    secrets_of_both = COMPOSE["secrets"] | CLUSTER["secrets"]
    declared = {name: path_of(secret["file"]) for name, secret in secrets_of_both.items()}
    used = {
        source if isinstance(source, str) else source["source"]
        for service in (SERVICES | CLUSTER["services"]).values()
        for source in service.get("secrets", [])
    }
    made = {str(path.relative_to(secrets)) for path in secrets.rglob("*") if path.is_file()}

    assert used == declared.keys()
    # The passwords themselves go, as a directory, to the one process that hashes them.
    assert made - {f"broker/{user['name']}" for user in permissions(TOPOLOGY)["users"]} == set(
        declared.values()
    )


def test_the_addresses_hold_their_passwords(secrets: Path) -> None:
    """The broker's and the database's addresses are what the settings accept, each with its own password."""
    database_url = (secrets / "database_url").read_text().strip()
    passwords = set()
    for user in (user["name"] for user in permissions(TOPOLOGY)["users"]):
        password = (secrets / "broker" / user).read_text().strip()
        broker_url = (secrets / "broker_url" / user).read_text().strip()
        assert broker_url == f"pyamqp://{user}:{password}@rabbitmq:5672/{TOPOLOGY.vhost}"
        load_settings({"DOORBELL_BROKER_URL": broker_url, "DOORBELL_DATABASE_URL": database_url})
        passwords.add(password)

    assert (secrets / "database_password").read_text().strip() in database_url
    assert len(passwords) == len(permissions(TOPOLOGY)["users"])
    assert min(map(len, passwords)) >= 32


def test_secrets_are_behind_a_closed_door(secrets: Path) -> None:
    """Nobody but the owner enters the directory, and may write; containers, which get single files, can read them."""
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in secrets.rglob("*") if p.is_file()} == {0o644}


def test_secrets_are_never_overwritten(tmp_path: Path) -> None:
    """A second call refuses; with --missing it adds what is not there and nothing else."""
    directory = tmp_path / "private"
    make_secrets(str(directory)).check_returncode()
    before = {path: path.read_text() for path in directory.rglob("*") if path.is_file()}

    refused = make_secrets(str(directory))
    (directory / "outlier_api_key").unlink()
    added = make_secrets("--missing", str(directory))

    after = {path: path.read_text() for path in directory.rglob("*") if path.is_file()}
    assert refused.returncode == 1
    assert "--missing" in refused.stderr
    assert added.stdout.splitlines() == [f"made {directory / 'outlier_api_key'}"]
    assert {path for path in before if after.get(path) != before[path]} == {
        directory / "outlier_api_key"
    }


def test_the_environment_is_known_to_the_settings() -> None:
    """No variable of a process that reads the settings is misspelled."""
    for name in OURS:
        environment = SERVICES[name]["environment"]
        if not environment:
            continue
        values = {
            variable: value for variable, value in environment.items() if "_FILE" not in variable
        }
        given = {
            variable: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for variable, value in values.items()
        }
        load_settings(
            given
            | {
                "DOORBELL_BROKER_URL": "pyamqp://user@rabbitmq",
                "DOORBELL_DATABASE_URL": "postgresql://user@postgres",
            }
        )


def test_prometheus_scrapes_what_there_is() -> None:
    """Every job finds its file of targets, every file belongs to a job, and every host is a service."""
    configuration = yaml.safe_load((DOCKER / "prometheus.yml").read_text())
    wanted = {
        name
        for job in configuration["scrape_configs"]
        for discovery in job.get("file_sd_configs", [])
        for name in discovery["files"]
    }
    files = list((DOCKER / "targets").glob("*.json"))
    hosts = {
        target.rpartition(":")[0]
        for file in files
        for group in json.loads(file.read_text())
        for target in group["targets"]
    }

    assert wanted == {f"targets/{file.name}" for file in files}
    assert hosts - {"127.0.0.1"} <= SERVICES.keys()


def test_every_pool_is_scraped() -> None:
    """Each worker service is asked for its containers, and the pool is what stands behind `worker-`."""
    configuration = yaml.safe_load((DOCKER / "prometheus.yml").read_text())
    [job] = [job for job in configuration["scrape_configs"] if job["job_name"] == "workers"]
    [discovery], [relabel] = job["dns_sd_configs"], job["relabel_configs"]

    assert set(discovery["names"]) == {name for name in SERVICES if name.startswith("worker-")}
    found = {re.sub(f"^{relabel['regex']}$", r"\1", name) for name in discovery["names"]}
    assert found == set(TOPOLOGY.pools)


def test_every_mounted_file_is_there() -> None:
    """The engine would make an empty directory of a file that is missing."""
    mounted = [
        volume.partition(":")[0]
        for service in [*SERVICES.values(), *CLUSTER["services"].values()]
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    ]

    assert [path for path in mounted if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    ("name", "variable"), [("flower", "FLOWER_PATH"), ("flower-viewers", "FLOWER_VIEWERS_PATH")]
)
def test_flower_is_asked_where_it_answers(name: str, variable: str) -> None:
    """Its health check follows the path that a proxy has for it."""
    service = SERVICES[name]

    assert service["environment"]["FLOWER_URL_PREFIX"] == f"${{{variable}:-}}"
    assert f":5555${{{variable}:-}}/healthcheck" in service["healthcheck"]["test"][-1]


def test_grafana_finds_what_it_shows() -> None:
    """It asks Prometheus under its service's name, and looks for dashboards where they are mounted."""
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    [provider] = yaml.safe_load((provisioning / "dashboards" / "doorbell.yml").read_text())[
        "providers"
    ]
    targets = {volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]}

    assert urlsplit(source["url"]).hostname in SERVICES
    assert provider["options"]["path"] in targets
    assert SERVICES["grafana"]["profiles"] == ["grafana"]


def test_prometheus_gets_its_rules() -> None:
    """When there are rules, they are mounted beside the configuration that names them."""
    mounts = [volume.partition(":")[0] for volume in SERVICES["prometheus"]["volumes"]]

    assert (ROOT / "deploy/prometheus/rules").exists() == ("./deploy/prometheus/rules" in mounts)


@pytest.mark.parametrize("arguments", [[], ["workre"], ["worker "]])
def test_an_unknown_role_fails_loudly(arguments: list[str]) -> None:
    """A misspelled role is named, and so are those there are."""
    ended = subprocess.run(
        [DOCKER / "entrypoint", *arguments], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 64
    assert f"'{''.join(arguments)}' is no role" in ended.stderr
    assert "gateway" in ended.stderr


def test_every_service_of_ours_has_a_role() -> None:
    """What compose calls for, the image knows."""
    script = (DOCKER / "entrypoint").read_text()
    roles = set(re.findall(r"^ {4}([a-z-]+)\)", script, re.MULTILINE))
    wanted = {SERVICES[name]["command"][0] for name in OURS - {"doorbell"}} | {"doorbell"}

    assert wanted == roles


def make_secrets(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [DOCKER / "secrets", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.defpath},
    )


def broker_secrets(service: dict[str, Any]) -> list[str]:
    """The names of a service's broker addresses; each is seen by it as broker_url."""
    found = [s for s in service.get("secrets", []) if isinstance(s, dict)]
    return [secret["source"] for secret in found if secret["target"] == "broker_url"]


def path_of(file: str) -> str:
    """A secret's path in the directory of secrets, whichever that is."""
    prefix = "${SECRETS_DIRECTORY:-./deploy/docker/private}/"
    assert file.startswith(prefix)
    return file.removeprefix(prefix)
