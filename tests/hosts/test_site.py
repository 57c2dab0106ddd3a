"""site.yml on hosts that were never touched: quick, complete, and with nothing left to do afterwards."""

from __future__ import annotations

import json
import ssl
import time
from typing import Any

import pytest
import requests

from tests.e2e.application import Application
from tests.e2e.test_smoke import FIREFOX, IPHONE, STEPS, new_user
from tests.e2e.waiting import wait_until
from tests.hosts.conftest import PERMANENT
from tests.hosts.controller import Recap
from tests.hosts.doors import KEY
from tests.hosts.fleet import Fleet
from tests.hosts.installation import GATEWAYS, Installation
from tests.hosts.network import HOSTS
from tests.hosts.test_rotation import subject

pytestmark = pytest.mark.timeout(1800)

SITE_SECONDS = 900.0
EXPOSURE = 3.0

# Tries to connect from a host to every address and port that it is told; prints those that answered.
_CONNECT = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor

def answers(way):
    host, _, port = way.partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=4).close()
    except OSError:
        return False
    return True

ways = sys.stdin.read().split()
with ThreadPoolExecutor(32) as pool:
    print(*(way for way, is_open in zip(ways, pool.map(answers, ways)) if is_open))
"""

# A certificate for a month and its key in one file, as HAProxy wants them, put in place as a client of ACME does.
_NEW_PUBLIC = """
umask 077
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 29 -subj /CN={subject} \
    -keyout {name}.key -out {name}.crt 2>/dev/null
cat {name}.crt {name}.key >{name}.new
mv {name}.new {name}
"""

_METRICS = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9200/metrics").read().decode())
"""

# What listens where, by group, and who may come there: ansible/README.md's table of ports.
_PORTS: tuple[tuple[int, str, tuple[str, ...]], ...] = (
    (8443, "gateways", ("gateways",)),
    (5671, "brokers", ("brokers", "gateways", "pools", "schedulers", "monitoring")),
    (15671, "brokers", ("monitoring", "schedulers")),
    (4369, "brokers", ("brokers",)),
    (25672, "brokers", ("brokers",)),
    (15692, "brokers", ("monitoring",)),
    (5432, "databases", ("databases", "gateways", "pools", "schedulers", "backups")),
    (8010, "outlier_apis", ("pool_external_api",)),
    (9101, "pools", ("monitoring",)),
    (9181, "gateways", ("monitoring",)),
    (9182, "schedulers", ("monitoring",)),
    (9183, "outlier_apis", ("monitoring",)),
    *((9200, group, ("monitoring",)) for group in ("brokers", "databases", "gateways", "pools")),
)


@pytest.fixture
def fleet(installation: Installation) -> Fleet:
    return installation.fleet


def groups_of(host: str) -> set[str]:
    """The groups of a host, `pools` among them."""
    groups = set(HOSTS[host].groups)
    return groups | ({"pools"} if any(group.startswith("pool_") for group in groups) else set())


def doorbell_units(fleet: Fleet, host: str) -> list[str]:
    """Doorbell's services that run on a host."""
    listed = fleet.run(
        host, "systemctl", "list-units", "--plain", "--no-legend", "--type=service", "doorbell-*"
    )
    units = [line.split()[0] for line in listed.splitlines()]
    return [unit for unit in units if "firewall" not in unit]


def test_it_takes_less_than_a_quarter_of_an_hour(site: Recap) -> None:
    """Everything is installed, configured and verified on fresh hosts in time."""
    print(f"site.yml took {site.seconds:.0f} s on {len(site.changed)} hosts")
    assert set(site.changed) >= set(PERMANENT)
    assert site.seconds < SITE_SECONDS


def test_a_second_run_changes_nothing(installation: Installation) -> None:
    """Not one task of any host has anything left to do."""
    recap = installation.controller.play("site")
    print(f"the second run took {recap.seconds:.0f} s")
    assert recap.changes == []


def test_check_mode_works(installation: Installation) -> None:
    """A dry run goes through on every host, and would change nothing."""
    recap = installation.controller.play("site", "--check", "--diff")
    assert recap.changes == []


def test_what_a_broken_off_run_has_left_is_made_up_for(installation: Installation) -> None:
    """Secrets, certificates and rules that are newer than what runs with them come into force at the next run, once."""
    fleet, unit = installation.fleet, "doorbell-worker@device_checks"
    before = main_process(fleet, "checks1", unit)
    # As files look that were written by a run which never came to what follows.
    fleet.run(
        "checks1", "touch", "/etc/doorbell/secrets/database_url", "/etc/doorbell/tls/host.crt"
    )
    fleet.run("checks1", "sh", "-c", "echo >>/etc/doorbell/firewall.nft.in-force")
    undo = ("--unit=doorbell-firewall-undo", "--on-active=300")
    fleet.run("checks1", "systemd-run", *undo, "nft", "delete", "table", "inet", "doorbell")

    assert installation.controller.play("site", "--limit=checks1").changes != []

    assert main_process(fleet, "checks1", unit) != before
    assert not fleet.run(
        "checks1", "systemctl", "list-timers", "--quiet", "doorbell-firewall-undo.*"
    )
    assert installation.controller.play("site", "--limit=checks1").changes == []


def test_a_new_public_certificate_is_taken_into_use(installation: Installation) -> None:
    """Whoever renews the file has nothing else to do, and Prometheus hears of its end."""
    fleet, controller = installation.fleet, installation.controller
    name = "/etc/doorbell/public.pem"

    def renew(subject: str) -> None:
        fleet.run("gateway2", "sh", "-euc", _NEW_PUBLIC.format(name=name, subject=subject))

    renew("before")
    controller.play(
        "site", "--limit=gateway2", "--tags=haproxy,exporter", haproxy_public_certificate=name
    )
    try:
        assert "before" in shown("gateway2")
        metrics = fleet.run("gateway2", "python3", "-c", _METRICS)
        (line,) = (line for line in metrics.splitlines() if f'file="{name}"' in line)
        assert 25 < (float(line.rpartition(" ")[2]) - time.time()) / 86400 < 30
        renew("after")
        wait_until(lambda: "after" in shown("gateway2"), 30, "the new certificate")
    finally:
        controller.play("site", "--limit=gateway2", "--tags=haproxy,exporter")
    assert "after" not in shown("gateway2")


def test_no_secret_is_printed_or_readable(installation: Installation) -> None:
    """Neither a playbook's output nor a process list nor a file for everybody holds a password."""
    content = installation.controller.secrets()
    words = [word for value in content.values() for word in _words(value)]
    printed = "".join(path.read_text() for path in installation.controller.logs.iterdir())
    assert len(words) > 10
    assert [word for word in words if word in printed] == []
    for host in PERMANENT:
        processes = installation.fleet.run(host, "ps", "-eo", "args", "--width", "1000")
        assert [word for word in words if word in processes] == [], host
        wanted = "\n".join(words)
        search = "find /etc /opt /var/lib /var/log /run -xdev -type f -perm -004 -size -1000k"
        found = installation.fleet.ask(
            host, "sh", "-c", f"{search} -print0 | xargs -0r grep -lFf /dev/stdin", stdin=wanted
        )
        assert found.output.strip() == "", host


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_login_ends_done_through_either_gateway(
    installation: Installation, gateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login reported at https://GATEWAY runs through every pool's host and gets its verdict."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(installation.controller.trusted))
    with Application(f"https://{gateway}", KEY) as application:
        user = new_user()
        for agent in (FIREFOX, IPHONE):
            report = {"user_id": user, "user_agent": agent, "email": f"{user}@example.org"}
            workflow = application.wait_for_end(application.report(**report))
    assert workflow["state"] == "done"
    assert workflow["verdict"]["level"] == "low"
    assert {step["task"] for step in workflow["steps"] if step["state"] == "done"} >= STEPS
    wait_until(lambda: _mails_to(installation, user) == 1, 30, "the mail about the new device")


def test_load_is_worked_off_without_a_loss(installation: Installation) -> None:
    """The oracle finds nothing lost and nothing doubled when nothing is disturbed."""
    with installation.under_load() as run:
        wait_until(lambda: run.load.sent > 120, 120, "120 logins to be sent")
    run.expect_well()
    assert run.found.held_off == 0


def test_every_unit_is_confined(fleet: Fleet) -> None:
    """systemd-analyze security on the real hosts: each of our processes is exposed by less than 3.0."""
    exposures = {
        f"{unit} on {host}": _exposure(fleet, host, unit)
        for host in PERMANENT
        for unit in doorbell_units(fleet, host)
    }
    print(*(f"{value:.1f}  {name}" for name, value in exposures.items()), sep="\n")
    assert len(exposures) >= 10
    assert {name: value for name, value in exposures.items() if value >= EXPOSURE} == {}


def test_no_process_can_read_anothers_secrets(fleet: Fleet) -> None:
    """Each has a user of its own, for whom the others' file systems and credentials are closed."""
    for host in PERMANENT:
        processes = {unit: main_process(fleet, host, unit) for unit in doorbell_units(fleet, host)}
        users = {
            unit: fleet.run(host, "stat", "-c", "--reuid=%u --regid=%g", f"/proc/{pid}").split()
            for unit, pid in processes.items()
        }
        distinct = {"--reuid=0", *(user for user, _ in users.values())}
        assert len(distinct) == 1 + len(users), (host, users)
        for other, pid in processes.items():
            secrets = f"/proc/{pid}/root/run/credentials/{other}"
            readers = {
                unit
                for unit, user in users.items()
                if fleet.ask(host, "setpriv", *user, "--clear-groups", "ls", secrets).status == 0
            }
            # That its own user can shows that the others were asked for something that is there.
            has_secrets = fleet.ask(host, "test", "-d", f"/run/credentials/{other}").status == 0
            assert readers == ({other} if has_secrets else set()), (host, other)


def test_each_host_reaches_what_its_role_needs_and_no_more(fleet: Fleet) -> None:
    """Every host tries every port of every other: what answers is what the table of ports says."""
    for host in PERMANENT:
        others = [other for other in PERMANENT if other != host]
        tried, expected = set(), set()
        for port, group, sources in _PORTS:
            ways = {f"{other}:{port}" for other in others if group in groups_of(other)}
            tried |= ways
            if groups_of(host) & set(sources):
                expected |= ways
        tried |= {f"{other}:22" for other in others} | {f"{gateway}:443" for gateway in GATEWAYS}
        answered = set(fleet.run(host, "python3", "-c", _CONNECT, stdin=" ".join(tried)).split())
        ssh = {way for way in answered if way.endswith(":22")}
        doors = {way for way in answered if way.endswith(":443")}
        assert answered - ssh - doors == expected, host
        assert ssh == ({"monitoring1:22"} if "databases" in groups_of(host) else set()), host


def test_prometheus_reaches_everything(installation: Installation) -> None:
    """Each process that has metrics is scraped, over the firewall, each pool among them."""

    def unreached() -> list[str]:
        found = _targets(installation)
        return [target["scrapeUrl"] for target in found if target["health"] != "up"]

    wait_until(lambda: not unreached(), 90, "all of Prometheus's targets to be up")
    jobs = {target["labels"]["job"] for target in _targets(installation)}
    assert len(jobs) >= 4


def test_an_operator_finds_nothing_wrong(fleet: Fleet) -> None:
    """The doctor and the broker's management interface are asked where operators are: on a host of schedulers."""
    told = json.loads(fleet.run("checks1", "doorbell", "doctor", "--json"))
    assert [finding for finding in told if finding["verdict"] == "wrong"] == []
    asked = {finding["what"] for finding in told if finding["verdict"] == "ok"}
    assert {"broker's topology", "dead letters"} <= asked
    assert "agrees" in fleet.run("checks1", "doorbell", "topology", "verify")


def test_the_gateways_metrics_are_not_for_the_world(installation: Installation) -> None:
    """What Prometheus reads is refused to who comes through the public door."""
    for gateway in GATEWAYS:
        answer = requests.get(
            f"https://{gateway}/metrics", verify=str(installation.controller.trusted), timeout=10
        )
        assert answer.status_code in (403, 404)


def test_no_unit_has_failed(fleet: Fleet) -> None:
    """After all of this every host still runs whole."""
    assert {host: fleet.failed_units(host) for host in PERMANENT} == {h: [] for h in PERMANENT}


def shown(gateway: str) -> str:
    """The subject of the certificate at a gateway's public door."""
    return subject(ssl.get_server_certificate((gateway, 443), timeout=10))


def main_process(fleet: Fleet, host: str, unit: str) -> str:
    """The id of a unit's main process."""
    return fleet.run(host, "systemctl", "show", "--property=MainPID", "--value", unit).strip()


def _words(value: object) -> list[str]:
    if isinstance(value, dict):
        return [word for each in value.values() for word in _words(each)]
    return [str(value)]


def _exposure(fleet: Fleet, host: str, unit: str) -> float:
    told = fleet.run(host, "systemd-analyze", "security", "--no-pager", unit)
    return float(told.rpartition("Overall exposure level for ")[2].split(":")[1].split()[0])


def _mails_to(installation: Installation, user: str) -> int:
    mails = (installation.world.maildir / "new").iterdir()
    return sum(f"{user}@example.org" in mail.read_text() for mail in mails)


def _targets(installation: Installation) -> list[dict[str, Any]]:
    script = (
        "import json, urllib.request as r;"
        " print(r.urlopen('http://127.0.0.1:9090/api/v1/targets').read().decode())"
    )
    told = installation.fleet.run("monitoring1", "python3", "-c", script)
    found: list[dict[str, Any]] = json.loads(told)["data"]["activeTargets"]
    return found
