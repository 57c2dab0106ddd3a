"""The real cluster under a supervisor, with everything outside it in this process: what scenarios disturb."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import amqp
import psycopg
import yaml

from routing.load import load
from services.queries import load_queries
from services.runner.failpoints import POINTS
from tests.chaos.hearing import ALL_EVENTS
from tests.chaos.mail_front import MailFront
from tests.chaos.receivers import Receiver, outlier_api, webhook_receiver
from tests.chaos.supervisor import Disturbance, End, Program, Supervisor
from tests.support.cluster import KEY, Cluster
from tests.support.fleet import ROOT, Fleet, doorbell_node, wait_until
from tests.support.ports import free_port
from tests.support.postgres import PrivatePostgres
from tests.support.rabbitmq import PrivateRabbitMQ

_SQL = load_queries(__package__, "rig.sql")

POOLS = tuple(load().pools)

_START_SECONDS = 90.0
_CALM_SECONDS = 120.0
_TOLD_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rig is made of, where it differs from the usual.

    processes: worker processes of each pool. programs: changes of single
    processes (`notifications.2`) or of all of a pool (`notifications`): an
    environment that is added, a prefix before the command, another module.
    code: the checkout whose code every process runs.
    """

    processes: Mapping[str, int] = field(default_factory=dict)
    programs: Mapping[str, Program] = field(default_factory=dict)
    code: Path = ROOT


class Rig:
    """A running system and the handles to disturb it by.

    `supervisor` has the processes, `node` the broker, `postgres` the database,
    `api`, `webhooks` and `mail` what Doorbell calls; `cluster` looks at it as an
    application does. Disturbances of parts that are not processes are to be
    noted by `supervisor.note` just before they happen.
    """

    def __init__(
        self,
        node: PrivateRabbitMQ,
        postgres: PrivatePostgres,
        database_url: str,
        directory: Path,
        plan: Plan,
        stack: ExitStack,
    ) -> None:
        self.node = node
        # Those that the code knows: a version before has fewer, in a file of another form.
        topology = yaml.safe_load((plan.code / "routing/topology.yml").read_text())
        self.pools: tuple[str, ...] = tuple(topology["pools"])
        self.postgres = postgres
        self.database_url = database_url
        self.directory = directory
        self.maildir = directory / "mail"
        self.api: Receiver = stack.enter_context(outlier_api())
        self.webhooks: Receiver = stack.enter_context(webhook_receiver())
        self._smtp, self._door = free_port(), free_port()
        self.mail: MailFront = stack.enter_context(MailFront(self._smtp, self._note_cut))
        self.fleet = stack.enter_context(
            Fleet(node, database_url, directory, self.mail.port, self.api.url)
        )
        self.supervisor = Supervisor(self.fleet)
        stack.callback(self.supervisor.close)
        self.cluster = Cluster(node, database_url, directory, self.fleet, self._door)
        stack.callback(self.cluster.close)
        self._plan = plan
        self._markers = directory / "failpoints"

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self._door}"

    def start(self) -> None:
        """Start everything and wait until it is at work."""
        self._write_tenant()
        self._markers.mkdir()
        for name, program in self._programs().items():
            self.supervisor.add(name, replace(self._changed(name, program), code=self._plan.code))
        self.supervisor.start()
        self.wait_until_up(_START_SECONDS)

    def wait_until_up(self, seconds: float = _START_SECONDS) -> None:
        """Wait until the gateway is ready and every worker process consumes."""
        wait_until(self.cluster.is_up, seconds, "the gateway is not ready")
        for pool in self.pools:
            wait_until(partial(self._is_complete, pool), seconds, f"{pool} is not complete")

    @property
    def is_told_of_all(self) -> bool:
        """Whether the application hears of each verdict and switch: no version before this one would tell it."""
        return self._plan.code == ROOT

    def calm(self, seconds: float = _CALM_SECONDS) -> None:
        """Take back what faults may have left, so that the next scenario finds a healthy system."""
        for server in (self.node, self.postgres):
            if not server.is_running:
                server.start()
        self.api.manner = self.webhooks.manner = self.mail.manner = "well"
        self.disarm_all()
        self.wait_until_up(seconds)
        self.execute("close_breaker")
        self.execute("ask_no_more")
        self.purge_dead_letters()
        self.execute("call_receivers")
        self.wait_until_told()

    def wait_until_told(self) -> None:
        """Wait until the application has heard all, so that no call of an earlier login is taken for a later one's."""
        wait_until(lambda: self.execute("untold") == 0, _TOLD_SECONDS, "the application is told")

    def _is_complete(self, pool: str) -> bool:
        return self.consumers(pool) == len(self.supervisor.of_pool(pool))

    def execute(self, query: str, **values: object) -> int:
        """Run one of sql/rig.sql's queries; the number it answers, or 0."""
        with psycopg.connect(self.database_url, connect_timeout=5) as connection:
            cursor = connection.execute(_SQL[query].encode(), values)
            row = cursor.fetchone() if cursor.description else None
        return int(row[0]) if row else 0

    def consumers(self, queue: str) -> int:
        """Consumers of a queue at this moment; 0 while the broker is away."""
        try:
            return self.cluster.consumers(queue)
        except (OSError, amqp.AMQPError):
            return 0

    def redelivered_when_done(self) -> dict[str, int]:
        """How many messages of each queue were delivered again although their steps were done; seconds old."""
        queues = self.node.manage("GET", "queues/doorbell")
        again = {q["name"]: int(q.get("message_stats", {}).get("redeliver", 0)) for q in queues}
        with psycopg.connect(self.database_url, connect_timeout=5) as connection:
            started = dict(connection.execute(_SQL["started_again"].encode()).fetchall())
        return {name: count - int(started.get(name, 0)) for name, count in again.items() if count}

    def purge(self, queue: str) -> None:
        """Have the broker forget what waits in a queue."""
        self.node.manage("DELETE", f"queues/doorbell/{queue}/contents")

    def purge_dead_letters(self) -> None:
        for queue in load().queues:
            self.purge(f"{queue}.dead")

    def keep_logs(self, directory: Path) -> None:
        """Copy what the processes have printed to `directory`."""
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in self.fleet.logs().items():
            (directory / f"{name}.log").write_text(text)

    def arm(self, point: str, task: str) -> Path:
        """Have the next process that reaches this failpoint die there, once.

        Returns the marker: it is there again when the process has died.
        """
        marker = self._marker(point, task)
        marker.unlink(missing_ok=True)
        return marker

    def disarm_all(self) -> None:
        for point, task in self.failpoints:
            marker = self._marker(point, task)
            if not marker.exists():
                marker.touch()

    @property
    def disturbances(self) -> list[Disturbance]:
        """Everything that was done to the parts, and ends that nobody here caused."""
        ends = list(self.supervisor.ends)
        noted = [Disturbance(self._moment(end), "end", end.name) for end in ends]
        return sorted([*self.supervisor.disturbances, *noted], key=lambda noted: noted.at)

    def _moment(self, end: End) -> float:
        """When a process ended: to the microsecond when it was a failpoint, which leaves its marker."""
        made = [marker.stat().st_mtime for marker in self._markers.iterdir()]
        return min((at for at in made if end.after <= at <= end.at), default=end.after)

    def _note_cut(self) -> None:
        self.supervisor.note("cut", "smtp")

    @property
    def failpoints(self) -> list[tuple[str, str]]:
        """Every (point, task) that can be armed."""
        tasks = [task for task in load().tasks if "*" not in task]
        return [(point, task) for task in tasks for point in POINTS]

    def _marker(self, point: str, task: str) -> Path:
        return self._markers / f"{point}-{task}"

    def _failpoints(self, pool: str) -> str:
        """Every failpoint of a pool's tasks: armed from the start, with markers that hold them off."""
        return ",".join(
            f"{point}@{task}={self._marker(point, task)}"
            for point, task in self.failpoints
            if task.partition(".")[0] == pool
        )

    def _programs(self) -> dict[str, Program]:
        self.disarm_all()
        sink = ("--host", "127.0.0.1", "--port", str(self._smtp), "--maildir", str(self.maildir))
        programs = {
            "mail": Program("deploy.local.mail_sink", sink, "gateway"),
            "gateway": Program(
                "services.gateway", environment={"DOORBELL_LISTEN_PORT": str(self._door)}
            ),
            "beat": Program("services.schedule"),
        }
        for pool in self.pools:
            for number in range(1, self._plan.processes.get(pool, 2) + 1):
                name = pool if number == 1 else f"{pool}.{number}"
                programs[name] = Program(
                    arguments=(pool, "--process", str(number)),
                    user=pool,
                    environment={
                        "DOORBELL_FAILPOINTS": self._failpoints(pool),
                        "DOORBELL_ALLOWED_PRIVATE_HOSTS": "127.0.0.1",
                    },
                )
        return programs

    def _changed(self, name: str, program: Program) -> Program:
        changes = self._plan.programs
        change = changes.get(name) or changes.get(name.partition(".")[0])
        if change is None:
            return program
        is_moved = change.module != "services.worker"
        return replace(
            program,
            module=change.module if is_moved else program.module,
            arguments=(*change.arguments, *program.arguments) if is_moved else program.arguments,
            prefix=change.prefix,
            environment={**program.environment, **change.environment},
        )

    def _write_tenant(self) -> None:
        self.execute("insert_tenant", url=f"{self.webhooks.url}/doorbell")
        if self.is_told_of_all:
            self.execute("set_policy", policy=ALL_EVENTS)
        self.execute("insert_key", digest=sha256(KEY.encode()).digest())


@contextmanager
def running_rig(
    directory: Path,
    plan: Plan | None = None,
    node: PrivateRabbitMQ | None = None,
    postgres: PrivatePostgres | None = None,
) -> Iterator[Rig]:
    """A rig that is at work; a broker or database that is not given is started and removed."""
    with ExitStack() as stack:
        node = node or stack.enter_context(doorbell_node())
        postgres = postgres or stack.enter_context(PrivatePostgres())
        url = stack.enter_context(postgres.database())
        rig = Rig(node, postgres, url, directory, plan or Plan(), stack)
        try:
            rig.start()
        except BaseException as error:
            error.add_note("\n".join(_ends_of_logs(rig)))
            raise
        yield rig


def _ends_of_logs(rig: Rig) -> Sequence[str]:
    return [f"--- {name}\n{text[-1000:]}" for name, text in sorted(rig.fleet.logs().items())]
