"""What a composed fleet calls outside, on this machine with call logs; and what a run has left, for the oracle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from routing.load import load
from services.queries import load_queries
from tests.chaos.broker_state import Broker
from tests.chaos.evidence import Evidence, Places, wait_until_ended
from tests.chaos.findings import Findings
from tests.chaos.hearing import ALL_EVENTS
from tests.chaos.load import Load, make_reports
from tests.chaos.oracle import judge
from tests.chaos.receivers import Receiver, outlier_api, webhook_receiver
from tests.compose.machines import Machines
from tests.compose.stack import Stack
from tests.e2e.waiting import wait_until

MAIL = "/var/lib/doorbell/mail/."

_CALLERS = ("worker-external_api", "worker-notifications")
_SQL = {name: text.encode() for name, text in load_queries(__package__, "surroundings.sql").items()}
_HEALTHY_SECONDS = 120
_END_SECONDS = 150.0
"""How long after the last answer a run may take to end: a notice's lease and its retries fit in."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """A fleet whose outlier API and webhook are `api` and `webhooks`, in this process."""

    stack: Stack
    api_key: str
    api: Receiver
    webhooks: Receiver
    broker: str = "rabbitmq"
    """The service whose management interface is asked what queues hold."""

    def run(
        self,
        disturb: Callable[[Machines, Load], None],
        directory: Path,
        seed: int,
        logins: int,
        rate: float,
        api_may_fail: bool = False,
    ) -> tuple[Findings, Evidence]:
        """Report `logins` at `rate` a second while `disturb` acts; then judge, once all is healthy again."""
        self.execute("close_breaker")
        # The oracle counts every dead letter; those of earlier runs are none of this one's.
        self.stack.doorbell("dead", "drop", "--all", "--yes")
        reports = make_reports(logins, seed)
        load = Load(self.stack.url("GATEWAY_PORT"), self.api_key, reports, rate, seed=seed)
        machines = Machines(self.stack)
        calls, deliveries = len(self.api.calls), len(self.webhooks.calls)
        load.start()
        try:
            disturb(machines, load)
        except BaseException:
            load.abort()
            raise
        load.wait()
        wait_until(
            lambda: not self.stack.unhealthy(), _HEALTHY_SECONDS, "every container to be healthy"
        )
        evidence = Evidence(
            self._places(directory),
            reports,
            lambda: self.api.calls[calls:],
            lambda: self.webhooks.calls[deliveries:],
            machines.disturbances,
            api_may_fail,
            may_hold_off=True,
        )
        wait_until_ended(evidence, _END_SECONDS)
        [mail] = self.stack.ids("mail")
        self.stack.docker("cp", f"{mail}:{MAIL}", str(evidence.places.maildir))
        return judge(evidence, _END_SECONDS), evidence

    def execute(self, query: str, **values: object) -> None:
        """Run one of sql/surroundings.sql's queries."""
        with psycopg.connect(_database_url(self.stack), connect_timeout=5) as connection:
            connection.execute(_SQL[query], values)

    def _places(self, directory: Path) -> Places:
        """Where to look; containers that came back may have other addresses."""
        management = f"http://{self.stack.address(self.broker)}:15672"
        password = self.stack.secret("broker/operator")
        return Places(
            self.stack.url("GATEWAY_PORT"),
            self.api_key,
            _database_url(self.stack),
            Broker(management, "operator", password, load().vhost),
            directory,
        )


@contextmanager
def surroundings(stack: Stack, api_key: str, broker: str = "rabbitmq") -> Iterator[Surroundings]:
    """The fleet calls this process, and in the end what it called before."""
    host = stack.gateway_address()
    with outlier_api(host) as api, webhook_receiver(host) as webhooks:
        calling = {
            "OUTLIER_API_URL": f"http://{host}:{api.port}",
            "DOORBELL_ALLOWED_PRIVATE_HOSTS": host,
        }
        led = Surroundings(
            replace(stack, environment={**stack.environment, **calling}),
            api_key,
            api,
            webhooks,
            broker,
        )
        _recreate_callers(led.stack)
        webhook = f"http://{host}:{webhooks.port}/doorbell"
        led.execute("set_webhook", url=webhook, secret="a secret of the test", policy=ALL_EVENTS)
        yield led
        led.execute("set_webhook", url=None, secret=None, policy=None)
    _recreate_callers(stack)


def _recreate_callers(stack: Stack) -> None:
    # With what they depend on: Compose v2 takes a service that was made without for another one, and the next `up`
    # makes it anew.
    stack.up(*_CALLERS)
    wait_until(lambda: not stack.unhealthy(), _HEALTHY_SECONDS, "every container to be healthy")


def _database_url(stack: Stack) -> str:
    url = stack.secret("database_url")
    return url.replace(f"@{urlsplit(url).hostname}:", f"@{stack.address('postgres')}:")
