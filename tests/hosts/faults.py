"""The real fault behind each alert, on hosts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import time

from tests.gamedays.faults import GAME_DAYS, GameDay, told
from tests.gamedays.grounds import Grounds
from tests.hosts.grounds import Hosted, group

_REFUSING = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(400)
        self.send_header("Content-Length", "0")
        self.end_headers()
ThreadingHTTPServer(("0.0.0.0", 8010), Handler).serve_forever()
"""
_STATUS = "/var/lib/doorbell-backup/status/doorbell_backup.prom"
_FINISHED = "doorbell_backup_finished_timestamp_seconds"
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
_GO_ON = (
    ".venv-ansible/bin/ansible-playbook -i ansible/inventories/production"
    " ansible/go_on_without_standby.yml"
)


@contextmanager
def refusing_api(grounds: Grounds) -> Iterator[None]:
    """At the outlier API's address something answers that refuses every call."""
    hosted = _hosted(grounds)
    [host] = group("outlier_apis")
    hosted.supervise("stop", "outlier_api")
    hosted.installation.fleet.run(
        host, "systemd-run", "--unit=refusing", "--collect", "python3", "-c", _REFUSING
    )
    try:
        yield
    finally:
        hosted.installation.fleet.run(host, "systemctl", "stop", "refusing")
        hosted.supervise("start", "outlier_api")


@contextmanager
def no_mail(grounds: Grounds) -> Iterator[None]:
    """The mail server, which is none of ours, is away."""
    grounds.supervise("stop", "mail_sink")
    try:
        yield
    finally:
        grounds.supervise("start", "mail_sink")


@contextmanager
def lost_standby(grounds: Grounds) -> Iterator[None]:
    """The standby is gone, and commits wait for it."""
    grounds.supervise("stop", "standby")
    yield


@contextmanager
def unprotected(grounds: Grounds) -> Iterator[None]:
    """The standby is gone, and somebody has decided to go on without it."""
    hosted = _hosted(grounds)
    hosted.supervise("stop", "standby")
    hosted.play(_GO_ON)
    yield


@contextmanager
def raised_disk_limit(grounds: Grounds) -> Iterator[None]:
    """Somebody has raised a node's watermark until only twice as much is free."""
    free = grounds.value("min(rabbitmq_disk_space_available_bytes)")
    assert free
    grounds.rabbitmqctl("set_disk_free_limit", str(int(free / 2)))
    yield


@contextmanager
def unfetched(grounds: Grounds) -> Iterator[None]:
    """The receiver has stopped; the primary keeps what it would have fetched."""
    _run(grounds, "backups", "systemctl stop doorbell-receive-wal")
    yield


@contextmanager
def old_backup(grounds: Grounds) -> Iterator[None]:
    """The newest backup was taken two days ago, as its file says."""
    _run(
        grounds,
        "backups",
        f"sed -i 's/^{_FINISHED} .*/{_FINISHED} {time() - 172_800:.0f}/' {_STATUS}",
    )
    yield


@contextmanager
def old_certificate(grounds: Grounds) -> Iterator[float]:
    """Nobody has run site.yml for weeks, so a host's own is still the one that ends in ten days."""
    old = {"certificates_reissue": True, "certificates_days": 10}
    host = group("schedulers")[0]
    fleet = _hosted(grounds).installation
    fleet.controller.play("site", "--tags=certificates", f"--limit={host}", **old)
    began = time()
    fleet.fleet.run(host, "systemctl", "start", "doorbell-certificate-ends")
    yield began


@contextmanager
def filled_disk(grounds: Grounds) -> Iterator[float]:
    """A disk of a gigabyte for nothing but the journal, and old journals on nine tenths of it."""
    # On the host of the backups all of the page's commands have something to do.
    _run(grounds, "backups", f"apt-get install --yes --quiet=2 fuse2fs\n{_MOUNT}")
    try:
        began = time()
        _run(grounds, "backups", _FILL)
        yield began
    finally:
        _run(grounds, "backups", _UNMOUNT)


def _run(grounds: Grounds, where: str, script: str) -> None:
    [host] = group(where)
    _hosted(grounds).installation.fleet.run(host, "sh", "-euc", script)


def _hosted(grounds: Grounds) -> Hosted:
    assert isinstance(grounds, Hosted)
    return grounds


_SAME = (
    "AlertsNotDelivered",
    "BeatSilent",
    "BreakerOpen",
    "DatabaseDown",
    "FlowerBlind",
    "GatewayDown",
    "HeldTooLong",
    "LedgerNotMeasured",
    "LoginsNotAccepted",
    "QueueStandsStill",
    "QueueWithoutConsumer",
    "ReconcilerRepairing",
    "VerdictsLate",
    "WorkLost",
    "WorkStuck",
)

HOST_DAYS: dict[str, GameDay] = {
    **{alert: GAME_DAYS[alert] for alert in _SAME},
    "BackupTooOld": GameDay(old_backup, told_seconds=1200, resolve_seconds=900),
    "BrokerAlarm": GameDay(
        told(("set_vm_memory_high_watermark", "0.0001"), ("set_vm_memory_high_watermark", "0.2"))
    ),
    "BrokerDiskSoonFull": GameDay(raised_disk_limit, told_seconds=420),
    "CanarySilent": replace(GAME_DAYS["CanarySilent"], found_out={"pool": "maintenance"}),
    "CertificateEndsSoon": GameDay(old_certificate, told_seconds=240, resolve_seconds=900),
    "CommitsUnprotected": GameDay(unprotected, told_seconds=480),
    "DeadLetteringStopped": replace(
        GAME_DAYS["DeadLetteringStopped"], found_out={"queues": "device_checks"}
    ),
    "DeadLettersArriving": replace(GAME_DAYS["DeadLettersArriving"], fault=refusing_api),
    "HostDiskSoonFull": GameDay(filled_disk, told_seconds=600, resolve_seconds=900),
    "NoticesNotGoingOut": GameDay(no_mail, is_mended_outside=True),
    "StandbyMissing": GameDay(lost_standby),
    "TargetDown": replace(GAME_DAYS["TargetDown"], found_out={"unit": "doorbell-flower"}),
    "WalNotFetched": GameDay(unfetched, told_seconds=600, resolve_seconds=900),
    "WorkGivenUp": replace(GAME_DAYS["WorkGivenUp"], fault=refusing_api),
}
"""All but BrokerDown, which three brokers cannot have; those that tests.hosts.test_alerts looks at under load; and
QueueWillNotClear, whose slow process does not live long enough: its page's command is gone through there too."""
