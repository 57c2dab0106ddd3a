"""Alerts that only hosts can have: somebody is told, the page's commands mend it, and it is over."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from string import Template

import pytest

from tests.e2e.waiting import wait_until
from tests.gamedays.inbox import Inbox, inbox
from tests.gamedays.runbook import Condition, read
from tests.hosts.installation import Installation
from tests.hosts.network import OUTSIDE
from tests.hosts.prometheus import shown_since, value

pytestmark = pytest.mark.timeout(2700)

_PORT = 8013
_BACKUP = "monitoring1"
_STATUS = "/var/lib/doorbell-backup/status/doorbell_backup.prom"
_PAGE_SECONDS = 90.0
_SHOWN_SECONDS = 30.0
_TICKET_SECONDS = 1200.0
"""BackupTooOld waits for a quarter of an hour, so that a fleet may take its first backup in peace."""
_MEND_SECONDS = 300.0
_MOUNT = """
rm --recursive --force /var/log/journal/*
truncate --size=1G /var/log/disk
mkfs.ext4 -q -m 0 -O ^has_journal /var/log/disk
fuse2fs /var/log/disk /var/log/journal -o rw,allow_other,fakeroot
mountpoint --quiet /var/log/journal
systemctl restart systemd-journald
journalctl --flush
"""
_FILL = """
cd "/var/log/journal/$(cat /etc/machine-id)"
journalctl --rotate
old=$(ls system@*.journal | head -n 1)
number=0
while [ "$(stat --file-system --format=%a .)" -gt "$(($(stat --file-system --format=%b .) / 14))" ]; do
    number=$((number + 1))
    cp --sparse=never "$old" "${old%-*}-$(printf %016x $number).journal"
done
"""
_UNMOUNT = """
umount --lazy /var/log/journal
systemctl restart systemd-journald
rm /var/log/disk
"""
_VARIABLE = re.compile(r"^([A-Z]+)=(\S+).*", re.MULTILINE)
_PLAYBOOK = re.compile(r"^\.venv-ansible/bin/ansible-playbook -i ansible/inventories/production ")


@pytest.fixture(scope="module")
def box(installation: Installation) -> Iterator[Inbox]:
    """Whom the fleet's Alertmanager tells."""
    with inbox(str(OUTSIDE), _PORT) as found:
        hook = {"url": f"http://{OUTSIDE}:{_PORT}/", "send_resolved": True}
        installation.controller.set({"monitoring_alert_receiver": {"webhook_configs": [hook]}})
        installation.controller.play("site", "--tags=monitoring")
        yield found


def mend(installation: Installation, alert: str, host: str) -> None:
    """What the page says for hosts: playbooks from the controller, all else on the host it is about."""
    for script in read(alert).commands("Mitigation", "hosts"):
        variables = dict(_VARIABLE.findall(script))
        for line in _VARIABLE.sub("", script).split("\n"):
            if _PLAYBOOK.match(line):
                words = shlex.split(Template(_PLAYBOOK.sub("", line)).substitute(variables))
                playbook = words[0].removeprefix("ansible/").removesuffix(".yml")
                installation.controller.play(playbook, *words[1:])
            elif line.strip():
                installation.fleet.run(host, "sh", "-c", line)


def expect_over(installation: Installation, box: Inbox, alert: str, opened: float) -> None:
    """The page's Verify holds within five minutes of its being opened, and whoever was told hears the all-clear."""
    for condition in read(alert).conditions():

        def holds(wanted: Condition = condition) -> bool:
            found = value(installation, wanted.query)
            return found is not None and wanted.holds(found)

        wait_until(holds, _MEND_SECONDS - (time.time() - opened), condition.query)
    print(f"{alert}: mended {time.time() - opened:.0f} s after it was told")
    wait_until(
        lambda: box.find(alert, "resolved", opened) is not None, 900, f"the all-clear of {alert}"
    )


def expect_told(
    installation: Installation, box: Inbox, alert: str, began: float, seconds: float
) -> float:
    """Wait for the news of an alert; returns when it came, in seconds since 1970.

    Raises:
        AssertionError: it did not come; or it is a page, and its condition was not there within half a minute.
    """
    wait_until(lambda: box.find(alert, "firing", began) is not None, seconds, f"{alert} to be told")
    told = box.find(alert, "firing", began)
    assert told is not None
    shown = shown_since(installation, told.labels) - began
    print(f"{alert}: shown {shown:.0f} s, told {told.at - began:.0f} s after the fault")
    assert told.labels["severity"] == "ticket" or shown < _SHOWN_SECONDS
    return told.at


def test_two_brokers_of_three_are_lost(whole: Installation, box: Inbox) -> None:
    """The third pauses; logins are accepted meanwhile, and none is lost."""
    with whole.under_load() as run:
        whole.world.note("kill", "rabbitmq")
        for broker in ("broker2", "broker3"):
            whole.fleet.run(broker, "systemctl", "stop", "rabbitmq-server")
        began = time.time()
        opened = expect_told(whole, box, "BrokerQuorumLost", began, _PAGE_SECONDS)
        for broker in ("broker2", "broker3"):
            mend(whole, "BrokerQuorumLost", broker)
        whole.world.note("back", "rabbitmq")
        expect_over(whole, box, "BrokerQuorumLost", opened)
    run.expect_well()
    assert run.found.held_off == 0


def test_no_door_is_open(whole: Installation, box: Inbox) -> None:
    """The gateways are well behind proxies that have stopped; applications wait, and no login is lost."""
    gateways = ("gateway1", "gateway2")
    with whole.under_load() as run:
        whole.world.note("kill", "gateway")
        for gateway in gateways:
            whole.fleet.run(gateway, "systemctl", "stop", "haproxy")
        began = time.time()
        opened = expect_told(whole, box, "DoorClosed", began, _PAGE_SECONDS)
        for gateway in gateways:
            mend(whole, "DoorClosed", gateway)
        whole.world.note("back", "gateway")
        expect_over(whole, box, "DoorClosed", opened)
    run.expect_well()


def test_nobody_fetches_wal_for_the_backups(whole: Installation, box: Inbox) -> None:
    """The receiver has stopped; the primary keeps what it would have fetched."""
    began = time.time()
    whole.fleet.run(_BACKUP, "systemctl", "stop", "doorbell-receive-wal")
    opened = expect_told(whole, box, "WalNotFetched", began, _TICKET_SECONDS)
    mend(whole, "WalNotFetched", _BACKUP)
    expect_over(whole, box, "WalNotFetched", opened)


def test_no_backup_was_taken(whole: Installation, box: Inbox) -> None:
    """The newest was taken two days ago, as its file says."""
    finished = "doorbell_backup_finished_timestamp_seconds"
    began = time.time()
    script = f"sed -i 's/^{finished} .*/{finished} {began - 2 * 86_400:.0f}/' {_STATUS}"
    whole.fleet.run(_BACKUP, "sh", "-c", script)
    opened = expect_told(whole, box, "BackupTooOld", began, _TICKET_SECONDS)
    mend(whole, "BackupTooOld", _BACKUP)
    expect_over(whole, box, "BackupTooOld", opened)


def test_a_certificate_ends_soon(whole: Installation, box: Inbox) -> None:
    """Nobody has run site.yml for weeks, so a host's own is still the one that ends in ten days."""
    host = "checks1"
    old = {"certificates_reissue": True, "certificates_days": 10}
    whole.controller.play("site", "--tags=certificates", f"--limit={host}", **old)
    began = time.time()
    whole.fleet.run(host, "systemctl", "start", "doorbell-certificate-ends")
    opened = expect_told(whole, box, "CertificateEndsSoon", began, _TICKET_SECONDS)
    mend(whole, "CertificateEndsSoon", host)
    expect_over(whole, box, "CertificateEndsSoon", opened)


def test_logs_have_filled_a_disk(whole: Installation, box: Inbox) -> None:
    """A disk of a gigabyte for nothing but the journal, and old journals on nine tenths of it."""
    host = _BACKUP  # where all of the page's commands have something to do
    whole.fleet.run(host, "apt-get", "install", "--yes", "--quiet=2", "fuse2fs")
    whole.fleet.run(host, "sh", "-euc", _MOUNT)
    try:
        began = time.time()
        whole.fleet.run(host, "sh", "-euc", _FILL)
        opened = expect_told(whole, box, "HostDiskSoonFull", began, _TICKET_SECONDS)
        mend(whole, "HostDiskSoonFull", host)
        expect_over(whole, box, "HostDiskSoonFull", opened)
    finally:
        whole.fleet.run(host, "sh", "-euc", _UNMOUNT)


def test_a_pool_gets_a_process_more(whole: Installation) -> None:
    """Its number is raised in the inventory, then the page's command runs it, and has Prometheus look at it."""
    running = 'count(up{job="workers", pool="db_writes"} == 1)'
    before = value(whole, running)
    assert before
    raised = "{{ 2 if 'pool_db_writes' in group_names else 1 }}"
    whole.controller.set({"doorbell_processes": raised})
    try:
        mend(whole, "QueueWillNotClear", "nowhere")
        wait_until(lambda: value(whole, running) == 2 * before, 120, "Prometheus to find them")
        assert value(whole, 'min(up{job="workers"})') == 1
    finally:
        whole.controller.set({"doorbell_processes": 1})
        mend(whole, "QueueWillNotClear", "nowhere")
    wait_until(lambda: value(whole, running) == before, 120, "Prometheus to forget them")


def test_every_host_tells_of_itself(whole: Installation) -> None:
    """Its file systems, to the monitoring alone; each exporter is reached."""
    assert value(whole, 'min(up{job="hosts"})') == 1
    hosts = value(whole, 'count(count by (instance) (node_filesystem_avail_bytes{job="hosts"}))')
    assert hosts == value(whole, 'count(up{job="hosts"})')
