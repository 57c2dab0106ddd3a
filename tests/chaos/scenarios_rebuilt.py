"""Scenarios in which the broker comes back without anything that it held."""

from __future__ import annotations

from routing.definitions import complete_definitions
from routing.load import load
from tests.chaos.commands import doorbell
from tests.chaos.load import Mixture
from tests.chaos.scenario import Run, scenario
from tests.support.fleet import passwords

_NO_DEAD_LETTERS = Mixture(marked=0.0)
"""They are lost with the broker; the ledger still has what is needed to replay them."""


def _something_was_lost(run: Run) -> list[str]:
    return [] if run.kept["republished"] else ["there was nothing to publish again"]


@scenario("rebuild-broker", rate=10, mixture=_NO_DEAD_LETTERS, check=_something_was_lost)
def rebuild_broker(run: Run) -> None:
    """The broker loses all that it holds, under load; `doorbell ledger republish` fills it again."""
    node = run.rig.node
    run.until_sent(0.3)
    # What waits is lost for sure: nobody takes it any more.
    busy = run.supervisor.of_pool("db_writes")
    with run.supervisor.held(*busy):
        run.supervisor.stop(*busy)
        run.until_sent(0.5)
        run.supervisor.note("rebuild", "rabbitmq")
        for command in ("stop_app", "reset", "start_app"):
            node.control(command)
        node.import_definitions(complete_definitions(load(), passwords()))
    run.back("rabbitmq")
    run.rig.wait_until_up()
    run.supervisor.note("republish", "rabbitmq")
    found = doorbell(run.rig, "ledger", "republish", "--older-than", "1s")
    run.kept["republished"] = int(found["published"])
