"""What stands around the fleet, in this process: the outlier API, webhooks and mails, which Doorbell calls."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.evidence import Evidence, Places
from tests.chaos.load import Report
from tests.chaos.receivers import Receiver, outlier_api, webhook_receiver
from tests.chaos.supervisor import Disturbance
from tests.hosts.controller import ROOT
from tests.hosts.network import OUTSIDE
from tests.support.fleet import wait_until

OUTLIER_API_PORT = 8010
WEBHOOK_PORT = 8011
INBOX_PORT = 8013
SMTP_PORT = 2525
WEBHOOK_URL = f"http://{OUTSIDE}:{WEBHOOK_PORT}/doorbell"

_START_SECONDS = 30.0


@dataclass(slots=True)
class World:
    """Receivers with their call logs, and what was done to the fleet, for the oracle."""

    api: Receiver
    webhooks: Receiver
    maildir: Path
    mail: subprocess.Popen[bytes] | None = None
    disturbances: list[Disturbance] = field(default_factory=list)

    def note(self, what: str, *whom: str) -> None:
        """Note what is about to be done to parts of the fleet.

        whom: the oracle's words: a pool, `gateway`, `rabbitmq` or `postgres`.
        """
        self.disturbances += [Disturbance(time.time(), what, each) for each in whom]

    def start_mail(self) -> None:
        """Have mails taken, from now on."""
        where = ("--host", str(OUTSIDE), "--port", str(SMTP_PORT), "--maildir", str(self.maildir))
        self.mail = subprocess.Popen(
            [sys.executable, "-m", "deploy.local.mail_sink", *where], cwd=ROOT
        )
        wait_until(_takes_mails, _START_SECONDS, "the mail server does not start")
        assert self.mail.poll() is None, "something else takes the mails"

    def stop_mail(self) -> None:
        """The mail server is gone."""
        if self.mail:
            self.mail.terminate()
            self.mail.wait()
            self.mail = None

    def watch(self) -> Callable[[Places, Sequence[Report], bool], Evidence]:
        """What gives a run's evidence, from the calls and disturbances since this call."""
        calls, deliveries = len(self.api.calls), len(self.webhooks.calls)
        noted = len(self.disturbances)

        def evidence(places: Places, reports: Sequence[Report], may_hold_off: bool) -> Evidence:
            return Evidence(
                places,
                reports,
                lambda: self.api.calls[calls:],
                lambda: self.webhooks.calls[deliveries:],
                self.disturbances[noted:],
                may_hold_off=may_hold_off,
            )

        return evidence


def _takes_mails() -> bool:
    try:
        socket.create_connection((str(OUTSIDE), SMTP_PORT), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def running_world(directory: Path) -> Iterator[World]:
    """A world at the addresses that the fleet's inventory has."""
    with (
        outlier_api(str(OUTSIDE), OUTLIER_API_PORT) as api,
        webhook_receiver(str(OUTSIDE), WEBHOOK_PORT) as webhooks,
    ):
        world = World(api, webhooks, directory / "mail")
        try:
            world.start_mail()
            yield world
        finally:
            world.stop_mail()
