"""The hosts themselves, before anything is done to them: they are like servers, and can be hurt like servers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.hosts.conftest import PERMANENT
from tests.hosts.controller import Controller
from tests.hosts.fleet import Fleet
from tests.hosts.network import HOSTS, ZONES

pytestmark = pytest.mark.timeout(600)

# To every host: a connection to its SSH, which greets first.
_GREET = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], 22), timeout=3) as there:
        print(there.recv(4).decode())
except OSError as error:
    print(type(error).__name__)
"""

_UNIT = """
[Service]
Type=oneshot
User=daemon
LoadCredential=word:/etc/word
ExecStart=/bin/sh -c 'cat "$CREDENTIALS_DIRECTORY/word"; touch /usr/there /etc/there'
PrivateTmp=yes
PrivateDevices=yes
ProtectSystem=strict
ProtectProc=invisible
ProtectKernelTunables=yes
RestrictNamespaces=yes
SystemCallFilter=@system-service
"""


def greeting(fleet: Fleet, host: str, other: str) -> str:
    """What a host's SSH says to another host, or the error's name."""
    address = str(HOSTS[other].address)
    return fleet.run(host, "python3", "-c", _GREET, address).strip()


@pytest.fixture
def fleet(plain_fleet: Fleet) -> Iterator[Fleet]:
    """The fleet, with the ways between its hosts open again afterwards."""
    yield plain_fleet
    plain_fleet.cuts.lay()


def test_every_host_has_booted(fleet: Fleet) -> None:
    """systemd runs on at least eight hosts, and no unit has failed."""
    assert len(fleet.running()) >= 8
    assert {name: fleet.failed_units(name) for name in PERMANENT} == {n: [] for n in PERMANENT}


def test_the_controller_logs_in_with_its_key(fleet: Fleet, controller: Controller) -> None:
    """SSH and sudo work at every host as site.yml needs them."""
    with ThreadPoolExecutor(4) as pool:
        told = pool.map(lambda name: controller.ssh(name, "sudo", "hostname"), PERMANENT)
        assert [each.strip() for each in told] == list(PERMANENT)


def test_packages_install(fleet: Fleet) -> None:
    """apt reaches Debian's packages, security updates included, and nothing else is outside."""
    fleet.run("broker1", "apt-get", "update", "-qq", "--error-on=any")
    fleet.run("broker1", "apt-get", "install", "-y", "-qq", "tree")
    assert "/etc" in fleet.run("broker1", "tree", "-d", "-L", "1", "/etc")


def test_a_unit_can_be_confined(fleet: Fleet) -> None:
    """systemd's sandbox and credentials work as on a machine, or a hardened unit would prove nothing."""
    fleet.run("broker1", "tee", "/etc/word", stdin="hush\n")
    fleet.run("broker1", "tee", "/etc/systemd/system/confined.service", stdin=_UNIT)
    fleet.run("broker1", "systemctl", "daemon-reload")
    assert fleet.ask("broker1", "systemctl", "start", "confined").status != 0
    log = fleet.run("broker1", "journalctl", "--unit", "confined", "--output", "cat")
    assert "hush" in log
    assert log.count("Read-only file system") == 2
    fleet.run("broker1", "systemctl", "reset-failed")


def test_zones_are_joined_by_routing(fleet: Fleet) -> None:
    """A host reaches the others of its zone and of any other, from its own address."""
    assert greeting(fleet, "gateway1", "gateway2") == "SSH-"
    assert greeting(fleet, "gateway1", "database1") == "SSH-"


@pytest.mark.parametrize(
    ("ones", "others"),
    [(("broker1",), ("broker2",)), (("broker1",), ("broker2", "pools"))],
    ids=["host from host", "host from zone"],
)
def test_a_cut_loses_packets_until_healed(
    fleet: Fleet, ones: tuple[str, ...], others: tuple[str, ...]
) -> None:
    """No packet passes between the two sides, both ways; everyone else is reached."""
    fleet.cuts.cut(ones, others)
    inside = ["checks1" if other in ZONES else other for other in others]
    assert {greeting(fleet, "broker1", other) for other in inside} == {"TimeoutError"}
    assert {greeting(fleet, other, "broker1") for other in inside} == {"TimeoutError"}
    assert greeting(fleet, "broker3", "broker1") == "SSH-"
    assert greeting(fleet, "broker1", "gateway1") == "SSH-"

    fleet.cuts.heal(ones, others)

    assert {greeting(fleet, other, "broker1") for other in inside} == {"SSH-"}


def test_a_killed_host_says_nothing_and_keeps_its_disk(fleet: Fleet) -> None:
    """Its peers' connections are not closed, as when the power goes; what it has written is there again."""
    fleet.run("calls1", "sh", "-c", "echo kept >/root/note")
    wait = (
        f"import socket; s = socket.create_connection(('{HOSTS['calls1'].address}', 22)); s.recv(99);"
        " print('open', flush=True); s.settimeout(6)\n"
        "try: print('closed', s.recv(99))\nexcept OSError as error: print(type(error).__name__)"
    )
    with ThreadPoolExecutor() as pool:
        peer = pool.submit(fleet.run, "calls2", "python3", "-c", wait)
        time.sleep(2.0)
        fleet.kill("calls1")
        assert peer.result().split() == ["open", "TimeoutError"]
    assert "calls1" not in fleet.running()

    fleet.start("calls1")

    assert fleet.run("calls1", "cat", "/root/note") == "kept\n"
    assert greeting(fleet, "calls2", "calls1") == "SSH-"
