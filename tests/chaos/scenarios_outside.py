"""Scenarios in which what Doorbell calls behaves badly: outlier API, mail server, webhook."""

from __future__ import annotations

from tests.chaos import faults
from tests.chaos.scenario import Run, scenario

_SECONDS = 3.0
"""Of each kind of fault: all together less than the time over which a notice is tried again."""


@scenario("outlier-api-faults", rate=15, api_may_fail=True)
def outlier_api_faults(run: Run) -> None:
    """The outlier API resets, answers 500 and slow rubbish, and hangs."""
    for manner in ("reset", "error", "rubbish", "hang"):
        faults.call_badly(run, run.rig.api, manner, _SECONDS)


@scenario("mail-faults", rate=15)
def mail_faults(run: Run) -> None:
    """The mail server resets, before and after it has kept the mail, asks for later, and hangs."""
    run.until_sent(0.2)
    for manner in ("reset", "later", "hang"):
        faults.mail_badly(run, manner, _SECONDS)


@scenario("webhook-faults", rate=15)
def webhook_faults(run: Run) -> None:
    """The application's webhook resets, answers 500, and hangs."""
    run.until_sent(0.2)
    for manner in ("reset", "error", "hang"):
        faults.call_badly(run, run.rig.webhooks, manner, _SECONDS)
