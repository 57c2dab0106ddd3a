"""Brokers are restarted, upgraded and replaced while logins come in; none is refused, lost or done twice."""

from __future__ import annotations

import json
import time

import pytest

from tests.hosts.installation import Installation
from tests.hosts.prometheus import pages
from tests.hosts.test_losses import running_nodes

pytestmark = pytest.mark.timeout(1800)

BROKERS = ("broker1", "broker2", "broker3")

_NEWER = "+newer1"
_OFFER_NEWER = rf"""
set -eu
rm -rf /opt/newer && mkdir -p /opt/newer/tree && cd /opt/newer
apt-get -qq update && apt-get -qq download rabbitmq-server
dpkg-deb --raw-extract rabbitmq-server_*.deb tree
sed -i 's/^Version: .*/&{_NEWER}/' tree/DEBIAN/control
rm rabbitmq-server_*.deb
dpkg-deb --build tree rabbitmq-server.deb >/dev/null
{{
    cat tree/DEBIAN/control
    echo "Filename: ./rabbitmq-server.deb"
    echo "Size: $(stat --format %s rabbitmq-server.deb)"
    echo "SHA256: $(sha256sum rabbitmq-server.deb | cut -d ' ' -f 1)"
}} >Packages
echo 'deb [trusted=yes] file:/opt/newer ./' >/etc/apt/sources.list.d/newer.list
"""
"""Offers a broker's own package once more, as a newer one: Debian has no second one of the series."""


def package(installation: Installation, host: str) -> str:
    """The version of RabbitMQ that a host has."""
    return installation.fleet.run(
        host, "dpkg-query", "--show", "--showformat", "${Version}", "rabbitmq-server"
    )


def members(installation: Installation) -> dict[str, set[str]]:
    """The nodes that each quorum queue has a member on; the others belong to one client, and go where it goes."""
    told = installation.fleet.run(
        *("broker1", "rabbitmqctl", "-q", "-p", "doorbell", "list_queues"),
        *("name", "type", "members", "--formatter", "json"),
    )
    queues = json.loads(told[told.index("[") :])
    return {q["name"]: set(q["members"]) for q in queues if q["type"] == "quorum"}


def test_they_are_restarted_one_by_one(whole: Installation) -> None:
    """upgrade_rabbitmq.yml stops one node at a time; the queues go on with the others, and nobody is woken."""
    began = time.time()
    with whole.under_load() as run:
        whole.controller.play("upgrade_rabbitmq", upgrade_restart=True)
    run.expect_well()
    assert pages(whole, began) == []
    assert run.found.held_off == 0
    assert len(running_nodes(whole)) == 3


def test_they_get_a_newer_package(whole: Installation) -> None:
    """One node after the other has it; a second run finds nothing to do."""
    for host in BROKERS:
        whole.fleet.run(host, "sh", "-c", _OFFER_NEWER)
    with whole.under_load() as run:
        whole.controller.play("upgrade_rabbitmq")
    run.expect_well()
    assert run.found.held_off == 0
    assert all(package(whole, host).endswith(_NEWER) for host in BROKERS)
    assert len(running_nodes(whole)) == 3

    for host in BROKERS:
        whole.fleet.run(host, "rm", "-r", "/etc/apt/sources.list.d/newer.list", "/opt/newer")
    again = whole.controller.play("upgrade_rabbitmq")
    assert not [change for change in again.changes if "leaders" not in change]


def test_one_is_replaced(whole: Installation) -> None:
    """Its host is gone with its disk: a fresh one takes its name, and its share of every queue."""
    lost = "broker2"
    before = members(whole)
    assert before
    with whole.under_load() as run:
        whole.world.note("kill", "rabbitmq")
        whole.fleet.kill(lost)
        whole.fleet.remove(lost)
        whole.controller.play("replace_broker", lost=lost)
        whole.controller.forget(lost)
        assert all(f"rabbit@{lost}" not in nodes for nodes in members(whole).values())
        whole.fleet.create([lost])
        whole.controller.play("site")
        whole.world.note("back", "rabbitmq")
    run.expect_well()
    assert len(running_nodes(whole)) == 3
    assert members(whole) == before
    assert whole.controller.play("site").changes == []


def test_one_that_works_is_not_replaced(whole: Installation) -> None:
    """Who names the wrong one, or none, is told so, and nothing is forgotten."""
    running = whole.controller.try_to_play("replace_broker", lost="broker3")
    assert running.status
    assert "broker3 runs and is in the cluster" in running.output
    nameless = whole.controller.try_to_play("replace_broker")
    assert nameless.status
    assert "Say which broker of the inventory was lost" in nameless.output
    assert len(running_nodes(whole)) == 3
