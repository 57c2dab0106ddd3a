"""The local cluster as a whole: what belongs to it, in which order it starts, and how it ends."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, replace

import psycopg

from deploy.local import choices as choices_file
from deploy.local import leftovers, monitoring, passwords, postgres, product, rabbitmq, tenant
from deploy.local import ports as port_choice
from deploy.local.choices import Choices
from deploy.local.layout import Layout
from deploy.local.ports import HOST
from deploy.local.process import ClusterError, Process
from deploy.local.readiness import wait_until_ready
from deploy.local.supervision import Supervisor, configure
from routing.load import load
from routing.topology import Topology
from services.cli.migrations import migrate
from services.ledger.drains import Drain, open_drains

_USUAL_PORTS: Mapping[str, int | None] = {
    "gateway": 8000,
    "outlier_api": 8010,
    "flower": 5555,
    "flower_viewers": 5556,
    "prometheus": 9090,
    "alertmanager": 9093,
    "rabbitmq": 5672,
    "rabbitmq_management": 15672,
    "rabbitmq_prometheus": 15692,
    "postgres": 5432,
    "mail_sink": 1025,
    # No person types these; the usual ones of Erlang belong to the machine's own node.
    "epmd": None,
    "rabbitmq_distribution": None,
    "beat": None,
}

_SERVICES_SECONDS = 180.0
_PRODUCT_SECONDS = 180.0
"""Ten seconds on an idle machine of two cores; one that has much else to do, or a slow disk, only takes longer."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Cluster:
    """A configured cluster: ports, passwords and configuration files are there, the processes may not be.

    services: what the product stands on. product: its own processes, and Flower.
    """

    layout: Layout
    topology: Topology
    ports: Mapping[str, int]
    services: tuple[Process, ...]
    product: tuple[Process, ...]

    @property
    def processes(self) -> tuple[Process, ...]:
        return (*self.services, *self.product)


def up(
    layout: Layout,
    said: Choices,
    say: Say,
    *,
    usual_ports: bool = True,
) -> Cluster:
    """Bring everything up and wait until it is well; what runs unchanged is left alone.

    said: what is chosen now; what an earlier `up` was told stays beside it.

    Raises:
        ClusterError: a choice is wrong, and nothing was changed; or something does not become well in time,
            and the message names it and shows its log.
    """
    layout.prepare()
    with _one_at_a_time(layout):
        supervisor = Supervisor(layout)
        is_running = supervisor.is_running()
        if not is_running and (orphans := leftovers.end(layout)):
            say(f"the supervisor is gone; ended {len(orphans)} processes that it left behind")
        chosen = _chosen(layout, said, say)
        cluster = _configure(layout, chosen, is_running=is_running, usual_ports=usual_ports)
        if is_running:
            supervisor.update()
        else:
            supervisor.start()
        postgres_process = next(p for p in cluster.services if p.name == "postgres")
        supervisor.start_programs(p.name for p in cluster.services)
        wait_until_ready(layout, supervisor, [postgres_process], _SERVICES_SECONDS, _unsaid)
        postgres.create_database(layout, cluster.ports["postgres"])
        migrate(postgres.url(layout, cluster.ports["postgres"]))
        wait_until_ready(layout, supervisor, cluster.services, _SERVICES_SECONDS, say)
        supervisor.start_programs(p.name for p in cluster.product)
        drains = _drains(cluster)
        for drain in drains:
            say(f"{drain.scope}: no messages, drained by {drain.drained_by}: {drain.way_back}")
        drained = {drain.pool for drain in drains}
        awaited = [_awaited(process, drained) for process in cluster.product]
        wait_until_ready(layout, supervisor, awaited, _PRODUCT_SECONDS, say)
        _write_endpoints(cluster)
    return cluster


def _awaited(process: Process, drained: Container[str]) -> Process:
    """Of a pool that an operator keeps from its queues, as much as it can be: there, and showing its metrics."""
    if process.name.partition(".")[0] not in drained:
        return process
    return replace(process, probe=monitoring.answers(process.address))


def _drains(cluster: Cluster) -> list[Drain]:
    """What an operator keeps from taking messages, which `up` does not change."""
    with psycopg.connect(postgres.url(cluster.layout, cluster.ports["postgres"])) as connection:
        return open_drains(connection)


def down(layout: Layout) -> bool:
    """Stop everything, the product first, and keep the data. Return whether anything ran."""
    supervisor = Supervisor(layout)
    was_running = supervisor.is_running()
    if was_running:
        stateful = {"epmd", "rabbitmq", "postgres"}
        grace = max((pool.grace_seconds for pool in load().pools.values()), default=0)
        supervisor.stop_programs(supervisor.states().keys() - stateful, grace + 10.0)
        supervisor.stop_programs({"rabbitmq", "postgres"}, 70.0)
        supervisor.shut_down(20.0)
    return bool(leftovers.end(layout)) or was_running


def remove(layout: Layout) -> None:
    """Stop everything and delete the cluster with all its data."""
    down(layout)
    # PostgreSQL's data may lie elsewhere, behind a link.
    if layout.postgres.exists():
        shutil.rmtree(layout.postgres.resolve())
    if layout.root.exists():
        shutil.rmtree(layout.root)


def read(layout: Layout) -> Cluster:
    """The cluster as the last `up` configured it."""
    topology = load()
    ports: dict[str, int] = json.loads(layout.ports.read_text())
    # `up` keeps no port that it does not use, so the metrics ports say how many processes there are.
    counts = {
        pool: sum(name.rpartition(".")[0] == pool for name in ports) for pool in topology.pools
    }
    # What only the programs' environment has is not needed to look at them.
    return describe(layout, topology, ports, counts, Choices().links)


def _chosen(layout: Layout, said: Choices, say: Say) -> Choices:
    """What holds from now on, kept; of pools that the topology has lost, nothing more.

    Receivers that Alertmanager would not take are refused, and those of before go
    on when their file has gone bad: a cluster that watches sign-ins starts all the same.
    """
    topology = load()
    complete(said.processes, topology)
    all_said = choices_file.read(layout.choices).and_now(said)
    processes = {pool: n for pool, n in all_said.processes.items() if pool in topology.pools}
    chosen = replace(all_said, processes=processes)
    taken = chosen
    try:
        monitoring.check(layout, chosen.receivers)
    except ClusterError as error:
        if said.alert_receivers:
            raise
        last = monitoring.last_receivers(layout)
        say(f"{error}; until then {'those are told who were' if last else 'nobody is told'}")
        taken = replace(chosen, alert_receivers=last)
    choices_file.keep(layout.choices, chosen)
    if chosen.words():
        say(f"chosen, and kept for the next time: {' '.join(chosen.words())}")
    return taken


def _configure(layout: Layout, chosen: Choices, *, is_running: bool, usual_ports: bool) -> Cluster:
    topology = load()
    counts = complete(chosen.processes, topology)
    ports = choose_ports(layout, counts, is_running=is_running, usual_ports=usual_ports)
    for user in (*topology.pools, *topology.users):
        rabbitmq.password(layout, user)
    rabbitmq.configure(layout, ports, topology)
    monitoring.configure(layout, targets(ports, counts), chosen.receivers)
    postgres.initialise(layout)
    cluster = describe(layout, topology, ports, counts, chosen.links)
    configure(layout, cluster.processes)
    return cluster


def describe(
    layout: Layout,
    topology: Topology,
    ports: Mapping[str, int],
    counts: Mapping[str, int],
    links: Mapping[str, str],
) -> Cluster:
    """All processes of a cluster; what they read must be there, nothing has to run."""
    return Cluster(
        layout,
        topology,
        ports,
        services=(
            *rabbitmq.processes(layout, ports, topology),
            postgres.process(layout, ports["postgres"]),
            *product.neighbours(layout, ports),
            *monitoring.processes(layout, ports, links),
        ),
        product=(
            *product.workers(layout, ports, topology, counts),
            product.gateway(layout, ports, topology),
            product.schedule(layout, ports, topology),
            *(monitoring.flower(layout, ports, topology, name) for name in monitoring.FLOWERS),
        ),
    )


def complete(counts: Mapping[str, int], topology: Topology) -> dict[str, int]:
    """The number of processes for every pool: one where `counts` says nothing.

    Raises:
        ClusterError: `counts` names a pool that is not there.
    """
    if unknown := counts.keys() - topology.pools.keys():
        raise ClusterError(
            f"PROCESSES names {', '.join(sorted(unknown))}, but the pools are {', '.join(topology.pools)}"
        )
    return {pool: counts.get(pool, 1) for pool in topology.pools}


def choose_ports(
    layout: Layout, counts: Mapping[str, int], *, is_running: bool, usual_ports: bool
) -> dict[str, int]:
    """A port for everything that listens."""
    wanted = dict(_USUAL_PORTS) if usual_ports else dict.fromkeys(_USUAL_PORTS)
    for name in _metrics_ports(counts):
        wanted[name] = None
    return port_choice.choose(layout.ports, wanted, is_running=is_running)


def _metrics_ports(counts: Mapping[str, int]) -> list[str]:
    return [
        product.process_name(pool, number)
        for pool, count in counts.items()
        for number in range(1, count + 1)
    ]


def targets(ports: Mapping[str, int], counts: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Whom Prometheus scrapes: for each job its instances, by name, with their ports."""
    single = ("prometheus", "alertmanager", "gateway", "beat", "outlier_api")
    return {
        **{name: {name: ports[name]} for name in single},
        "flower": {name: ports[name] for name in monitoring.FLOWERS},
        "rabbitmq": {"rabbitmq": ports["rabbitmq_prometheus"]},
        "workers": {name: ports[name] for name in _metrics_ports(counts)},
        # This machine is its owner's, and watched by whoever watches it; no proxy stands before the gateway.
        "hosts": {},
        "door": {},
    }


def _write_endpoints(cluster: Cluster) -> None:
    layout, ports = cluster.layout, cluster.ports
    database_url = postgres.url(layout, ports["postgres"])
    flowers = {
        name: f"http://{':'.join(monitoring.flower_auth(layout, name))}@{HOST}:{ports[name]}"
        for name in monitoring.FLOWERS
    }
    operator = f"{rabbitmq.OPERATOR}:{rabbitmq.password(layout, rabbitmq.OPERATOR)}"
    endpoints = {
        "gateway": f"http://{HOST}:{ports['gateway']}",
        **flowers,
        "prometheus": f"http://{HOST}:{ports['prometheus']}",
        "alertmanager": f"http://{HOST}:{ports['alertmanager']}",
        "rabbitmq_management": f"http://{operator}@{HOST}:{ports['rabbitmq_management']}",
        "outlier_api": f"http://{HOST}:{ports['outlier_api']}",
        "smtp_url": f"smtp://{HOST}:{ports['mail_sink']}",
        "database_url": database_url,
        "broker_url": rabbitmq.url(
            layout, rabbitmq.OPERATOR, ports["rabbitmq"], cluster.topology.vhost
        ),
        "api_key": tenant.ensure(database_url, layout.secrets / "api_key"),
        "mail_directory": str(layout.mail),
    }
    passwords.write(layout.endpoints, json.dumps(endpoints, indent=2))


def _unsaid(text: str) -> None:
    """Takes what will be said later."""


@contextlib.contextmanager
def _one_at_a_time(layout: Layout) -> Iterator[None]:
    with (layout.root / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ClusterError(f"Another `up` of {layout.root} is under way: wait for it") from None
        yield
