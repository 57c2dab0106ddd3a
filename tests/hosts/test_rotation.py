"""Passwords and certificates change while logins come in, and the old ones then open nothing."""

from __future__ import annotations

import subprocess

import pytest

from tests.hosts.conftest import PERMANENT
from tests.hosts.installation import Installation
from tests.hosts.test_losses import running_nodes

pytestmark = pytest.mark.timeout(1800)

# Asks the fleet's own outlier API with a key, and prints what it answers.
_ASK = """
import sys, urllib.error, urllib.request
request = urllib.request.Request("http://monitoring1:8010/v1/score", b"{}", {
    "Authorization": f"Bearer {sys.stdin.read()}", "Content-Type": "application/json"})
try:
    print(urllib.request.urlopen(request, timeout=10).status, end="")
except urllib.error.HTTPError as error:
    print(error.code, end="")
"""


def test_secrets_are_rotated(whole: Installation) -> None:
    """Every password of broker and database is another one, and no login was refused, lost or done twice."""
    before = whole.controller.secrets()
    with whole.under_load() as run:
        whole.controller.play("rotate_secrets")
    run.expect_well()
    assert run.found.held_off == 0
    after = whole.controller.secrets()
    users = before["vault_broker_passwords"]
    assert all(users[user] != after["vault_broker_passwords"][user] for user in users)
    assert before["vault_database_password"] != after["vault_database_password"]
    for user, password in users.items():
        told = whole.fleet.ask("broker1", "rabbitmqctl", "authenticate_user", user, password)
        assert told.status != 0, f"{user}'s old password is still good"


def test_the_outlier_apis_key_is_rotated(whole: Installation) -> None:
    """The API and its callers have another key, no call was made with the wrong one, and the pool is awake again."""
    before = whole.controller.secrets()["vault_outlier_api_key"]
    with whole.under_load() as run:
        whole.controller.play("rotate_outlier_api_key")
    run.expect_well()
    assert run.found.held_off == 0
    after = whole.controller.secrets()["vault_outlier_api_key"]
    assert after != before
    for host in ("calls1", "calls2", "monitoring1"):
        assert whole.fleet.run(host, "cat", "/etc/doorbell/secrets/outlier_api_key") == after
    assert whole.fleet.run("calls1", "python3", "-c", _ASK, stdin=before) == "401"
    assert whole.fleet.run("calls1", "python3", "-c", _ASK, stdin=after) != "401"


def test_the_brokers_cookie_is_rotated(whole: Installation) -> None:
    """All nodes stop and come back with another cookie; what was accepted meanwhile is worked off."""
    before = whole.controller.secrets()["vault_erlang_cookie"]
    with whole.under_load() as run:
        whole.world.note("stop", "rabbitmq")
        whole.controller.play("rotate_erlang_cookie")
        whole.world.note("back", "rabbitmq")
    run.expect_well()
    after = whole.controller.secrets()["vault_erlang_cookie"]
    assert after != before
    for host in ("broker1", "broker2", "broker3"):
        assert whole.fleet.run(host, "cat", "/var/lib/rabbitmq/.erlang.cookie") == after
    assert len(running_nodes(whole)) == 3


def test_certificates_are_rotated(whole: Installation) -> None:
    """Every host has a certificate of a new CA, the old one is trusted no more, and nobody has noticed."""
    controller = whole.controller
    old = controller.ca.read_text()
    # The application learns of the next CA before the fleet does, as deploy/runbooks has its operators told.
    controller.make_secrets("--new-ca")
    serials = {host: serial(whole, host) for host in PERMANENT}
    with whole.under_load() as run:
        controller.play("rotate_certificates", new_ca=True)
    run.expect_well()
    assert run.found.held_off == 0
    assert controller.ca.read_text() != old
    for host in PERMANENT:
        assert serial(whole, host) != serials[host]
        assert whole.fleet.run(host, "cat", "/etc/doorbell/tls/ca.crt").count("BEGIN CERT") == 1
        whole.fleet.run(
            host,
            "openssl",
            "verify",
            "-CAfile",
            "/etc/doorbell/tls/ca.crt",
            "/etc/doorbell/tls/host.crt",
        )
    for gateway in ("gateway1", "gateway2"):
        assert issuer(gateway) == subject(controller.ca.read_text())


def test_nothing_is_left_to_do(whole: Installation) -> None:
    """site.yml agrees with what the rotations have done."""
    assert whole.controller.play("site").changes == []


def serial(installation: Installation, host: str) -> str:
    """The number of a host's certificate."""
    certificate = "/etc/doorbell/tls/host.crt"
    return installation.fleet.run(host, "openssl", "x509", "-noout", "-serial", "-in", certificate)


def issuer(gateway: str) -> str:
    """Who signed the certificate that a gateway shows."""
    shown = subprocess.run(
        ("openssl", "s_client", "-connect", f"{gateway}:443", "-servername", gateway),
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    ).stdout
    return _openssl(shown, "-issuer").removeprefix("issuer=")


def subject(certificate: str) -> str:
    return _openssl(certificate, "-subject").removeprefix("subject=")


def _openssl(certificate: str, what: str) -> str:
    return subprocess.run(
        ("openssl", "x509", "-noout", what),
        check=True,
        input=certificate,
        capture_output=True,
        text=True,
    ).stdout.strip()
