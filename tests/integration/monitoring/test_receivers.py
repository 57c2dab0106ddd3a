"""Whoever is named as in deploy/alertmanager/README.md is told: by mail, and by a call of a web server."""

from __future__ import annotations

import time
from pathlib import Path

import yaml

from deploy.local.monitoring import alerting
from tests.gamedays.inbox import inbox
from tests.integration.monitoring.test_inhibition import RULES
from tests.integration.monitoring.test_inhibition import serving as alertmanager
from tests.integration.test_mail_sink import serving as mail_sink
from tests.support.fleet import wait_until

_SUMMARY = "Nobody consumes queue db_writes"
_RUNBOOK = "deploy/runbooks/QueueWithoutConsumer.md"


def test_a_page_comes_by_mail_and_by_webhook_with_what_to_do(tmp_path: Path) -> None:
    """Both receivers of one severity, within the time that alerts are gathered; a ticket's receiver hears nothing."""
    receivers, configuration = tmp_path / "receivers.yml", tmp_path / "alertmanager.yml"
    with mail_sink(tmp_path / "mail") as sink, inbox() as pager:
        mail = {
            "to": "oncall@example.org",
            "from": "doorbell@example.org",
            "smarthost": f"127.0.0.1:{sink.port}",
            "require_tls": False,
        }
        hook = {"url": f"http://127.0.0.1:{pager.port}/"}
        receivers.write_text(
            yaml.safe_dump(
                {
                    "page": {"email_configs": [mail], "webhook_configs": [hook]},
                    "ticket": {"email_configs": [mail | {"to": "team@example.org"}]},
                }
            )
        )
        configuration.write_text(alerting(receivers))
        began = time.time()
        with alertmanager(configuration, tmp_path / "state") as found:
            found.take([RULES["QueueWithoutConsumer"]], summary=_SUMMARY, runbook=_RUNBOOK)
            wait_until(
                lambda: pager.find("QueueWithoutConsumer", "firing", began) is not None,
                30,
                "the call",
            )
            wait_until(lambda: bool(sink.mails()), 30, "the mail")
        [told] = sink.mails()
    assert told["To"] == "oncall@example.org"
    assert "QueueWithoutConsumer" in told["Subject"]
    text = "".join(str(part.get_payload(decode=True)) for part in told.walk())
    assert _SUMMARY in text
    assert _RUNBOOK in text
