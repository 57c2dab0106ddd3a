"""The fleet as the ground of a game day: what a page says for hosts is run where it says so."""

from __future__ import annotations

import re
import shlex
import ssl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from kombu import Connection

from routing.load import load
from tests.gamedays.grounds import LINKS, Grounds
from tests.gamedays.inbox import Inbox
from tests.gamedays.runbook import CONTROLLER, Place, placed
from tests.hosts.doors import KEY, database_url, tunnels
from tests.hosts.installation import Installation
from tests.hosts.network import HOSTS

SETTINGS: Mapping[str, str] = {
    "monitoring_dashboards_url": LINKS["DASHBOARDS_URL"],
    "monitoring_runbooks_url": LINKS["RUNBOOKS_URL"],
}
"""Where alerts lead."""

_COMMAND_SECONDS = 300.0
_GROUP = re.compile(r"(a|the|each) host of (\w+)(?: that .+)?")
_GROUP_OF_THE_POOL = re.compile(r"each host of the pool(?: that .+)?")
_UNITS = {
    "flower": ("monitoring", "doorbell-flower"),
    "gateway": ("gateways", "doorbell-gateway"),
    "outlier_api": ("outlier_apis", "doorbell-outlier-api"),
    "rabbitmq": ("brokers", "rabbitmq-server"),
    "schedule": ("schedulers", "doorbell-beat"),
}
"""Where the processes of the local cluster are on hosts, and what they are called there."""


def group(name: str) -> list[str]:
    """The hosts of a group of the inventory."""
    return [host.name for host in HOSTS.values() if name in host.groups]


class Hosted(Grounds):
    """A fleet; `endpoints` are the ends of tunnels, but for the gateway."""

    place: Place = "hosts"

    def __init__(
        self, installation: Installation, box: Inbox, endpoints: Mapping[str, str], broker: int
    ) -> None:
        self.installation = installation
        self._endpoints = dict(endpoints)
        self._broker = broker
        super().__init__(installation.controller.environment, box)

    @property
    def endpoints(self) -> dict[str, str]:
        return self._endpoints

    def mend(self, script: str, labels: Mapping[str, str]) -> str:
        """Playbooks from the controller, all else over SSH on the hosts that the page names.

        Raises:
            AssertionError: a command failed.
            ValueError: the page does not say where one is to be run, or it is none of these hosts.
        """
        printed = ""
        for where, command in placed(script):
            if where == CONTROLLER:
                printed += self.play(command)
            else:
                printed += "".join(self._at(host, command) for host in self.hosts(where, labels))
        return printed

    def play(self, command: str) -> str:
        """Call a playbook as a page has it, for the inventory of the fleet."""
        inventory = str(self.installation.controller.inventory)
        return self.run(command.replace("ansible/inventories/production", inventory), 900)

    def hosts(self, where: str, labels: Mapping[str, str]) -> list[str]:
        """Which hosts a page means by a word like `a host of gateways`.

        Raises:
            ValueError: none that is known.
        """
        if found := _GROUP.fullmatch(where):
            members = group(found[2])
            return members if found[1] == "each" else members[:1]
        if _GROUP_OF_THE_POOL.fullmatch(where):
            return group(f"pool_{labels['pool']}")
        if where == "the alert's host":
            return [labels["instance"].partition(":")[0]]
        if where == "the monitoring host":
            return group("monitoring")[:1]
        if where in ("the primary", "the standby"):
            return [self.database(where)]
        raise ValueError(f"{where}: no host is meant by that")

    def database(self, which: str) -> str:
        """The host of `the primary` or of `the standby`, either of which may be down at this moment."""
        hosts = group("databases")
        question = ("sudo", "-u", "postgres", "psql", "-Atc", "SELECT pg_is_in_recovery()")
        recovers = {
            host: self.installation.fleet.ask(host, *question).output.strip() for host in hosts
        }
        sure, other = ("f", "t") if which == "the primary" else ("t", "f")
        # One that is down answers something else than either.
        return min(hosts, key=lambda host: (recovers[host] != sure, recovers[host] == other))

    def supervise(self, *words: str) -> str:
        """Stop or start units, by the names of the local cluster's processes, on all hosts that have them at once."""
        verb, *names = words
        for name in names:
            if name == "mail_sink":
                world = self.installation.world
                (world.stop_mail if verb == "stop" else world.start_mail)()
            else:
                self.on_each(*self._unit(name), "systemctl", verb)
        return ""

    def freeze(self, name: str) -> None:
        self.on_each(*self._unit(name), "systemctl", "kill", "--signal=STOP")

    def on_each(self, hosts: Sequence[str], last: str, *words: str) -> None:
        """Run a command on several hosts at once; `last` is its last word."""

        def run(host: str) -> str:
            return self.installation.fleet.run(host, *words, last)

        with ThreadPoolExecutor(len(hosts)) as pool:
            list(pool.map(run, hosts))

    def rabbitmqctl(self, *words: str) -> str:
        return self.installation.fleet.run(group("brokers")[0], "rabbitmqctl", *words)

    def doorbell(self, *words: str) -> str:
        return self.installation.fleet.run(group("schedulers")[0], "doorbell", *words)

    def administer(self, statement: str) -> None:
        psql = ("sudo", "-u", "postgres", "psql", "-d", "doorbell", "-c", statement)
        self.installation.fleet.run(self.database("the primary"), *psql)

    def connect(self, user: str, password: str) -> Connection:
        """A connection with the certificate of a host, which a broker wants of everybody."""
        controller = self.installation.controller
        files = {
            "certfile": controller.directory / "intruder.crt",
            "keyfile": controller.directory / "intruder.key",
        }
        for path in files.values():
            name = f"/etc/doorbell/tls/host{path.suffix}"
            path.touch(mode=0o600)
            path.write_text(self.installation.fleet.run(group("schedulers")[0], "cat", name))
        tls = {
            "ca_certs": str(controller.trusted),
            "cert_reqs": ssl.CERT_REQUIRED,
            "server_hostname": group("brokers")[0],
            **{kind: str(path) for kind, path in files.items()},
        }
        return Connection(f"pyamqp://{user}:{password}@127.0.0.1:{self._broker}/doorbell", ssl=tls)

    def _unit(self, name: str) -> tuple[list[str], str]:
        if name == "postgres":
            return [self.database("the primary")], "postgresql"
        if name == "standby":
            return [self.database("the standby")], "postgresql"
        pool = name.partition(".")[0]
        if pool in load().pools:
            return group(f"pool_{pool}"), f"doorbell-worker@{pool}"
        where, unit = _UNITS[name]
        return group(where), unit

    def _at(self, host: str, command: str) -> str:
        login = self.installation.controller.ssh_command(host)
        ended = subprocess.run(
            [*login, shlex.join(["bash", "-e", "-o", "pipefail", "-c", command])],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_COMMAND_SECONDS,
        )
        assert ended.returncode == 0, f"{host}: {command}\n{ended.stdout}"
        return ended.stdout


@contextmanager
def hosted(installation: Installation, box: Inbox) -> Iterator[Hosted]:
    """The fleet, reached as its operators and its users reach it."""
    controller = installation.controller
    client, monitoring = group("schedulers")[0], group("monitoring")[0]
    broker, *databases = (group("brokers")[0], 5671), *((host, 5432) for host in group("databases"))
    local = [("127.0.0.1", 9090), ("127.0.0.1", 9093)]
    with ExitStack() as stack:
        inner = stack.enter_context(tunnels(controller, client, [broker, *databases]))
        prometheus, alertmanager = stack.enter_context(tunnels(controller, monitoring, local))
        password = controller.secrets()["vault_database_password"]
        endpoints = {
            "gateway": f"https://{group('gateways')[0]}",
            "api_key": KEY,
            "prometheus": f"http://127.0.0.1:{prometheus}",
            "alertmanager": f"http://127.0.0.1:{alertmanager}",
            "database_url": database_url(inner[1:], password, controller.trusted),
        }
        yield Hosted(installation, box, endpoints, inner[0])
