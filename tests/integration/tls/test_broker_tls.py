"""Mutual TLS with the broker: everything works over it, and what does not fit says so and loses nothing."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from routing.__main__ import main as routing
from routing.load import load
from services import settings
from services.celery_app import DoorbellApp, make_app
from services.cli.main import run
from services.domain.errors import Unavailable
from services.ledger.message import Message
from services.ledger.publisher import Publisher
from services.schedule import broker_certificate_end
from tests.support.certificates import Authority
from tests.support.cluster import IPHONE, KEY, Cluster
from tests.support.fleet import ROOT, passwords, wait_until
from tests.support.ports import free_port
from tests.support.rabbitmq import PrivateRabbitMQ

CA, CERTIFICATE, PRIVATE, NAME = (
    f"DOORBELL_BROKER_{part}" for part in ("CA_FILE", "CERTIFICATE_FILE", "KEY_FILE", "SERVER_NAME")
)
POOL = "device_checks"
SECONDS = 60


@dataclass(frozen=True)
class Wrong:
    """Settings that do not work: what is said of them, what they change, and what they leave out."""

    sentence: str
    changed: dict[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def wrong(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Wrong]:
    stranger = Authority(tmp_path_factory.mktemp("stranger"))
    foreign = stranger.issue("worker")
    node = cluster.node
    plain = cluster.fleet.broker_url(POOL).replace(str(node.tls_port), str(node.amqp_port))
    refused = "the broker refuses our certificate"
    return {
        "another CA": Wrong(
            f"the broker's certificate is not from the CA in {CA}", {CA: str(stranger.file)}
        ),
        "another name": Wrong("the broker's certificate is for another name", {NAME: "other"}),
        "no certificate": Wrong(refused, {}, (CERTIFICATE, PRIVATE)),
        "a stranger": Wrong(refused, {CERTIFICATE: str(foreign.file), PRIVATE: str(foreign.key)}),
        "no TLS there": Wrong(
            "the broker does not speak TLS on this port", {"DOORBELL_BROKER_URL": plain}
        ),
        "TLS there": Wrong("the broker is away", {}, (CA, CERTIFICATE, PRIVATE, NAME)),
    }


@pytest.fixture
def operator(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of an operator's command."""
    for name, value in cluster.fleet.environment("operator").items():
        if name.startswith("DOORBELL_"):
            monkeypatch.setenv(name, value)


def test_a_login_goes_all_the_way(cluster: Cluster) -> None:
    """Gateway, five pools and beat, each under its own user: confirms, deliveries, acks, delays."""
    assert cluster.ended(cluster.post("ada")) == ["done"]
    assert cluster.ended(cluster.post("ada", IPHONE)) == ["done"]
    wait_until(lambda: cluster.mails_to("ada"), SECONDS)
    wait_until(lambda: not cluster.waiting_messages(), SECONDS)

    def encrypted() -> set[bool]:
        # The management interface learns of connections a few seconds late.
        rows = cluster.node.manage("GET", "connections")
        return {row["ssl"] for row in rows if row.get("user") in load().pools}

    wait_until(encrypted, SECONDS)
    assert encrypted() == {True}


def test_a_broker_that_restarts_is_found_again(cluster: Cluster) -> None:
    """Also over TLS the workers come back by themselves and finish what was accepted meanwhile."""
    cluster.node.stop()
    workflow = cluster.post("eve")
    cluster.node.start()
    assert cluster.ended(workflow, seconds=90) == ["done"]


def test_what_is_wrong_is_said_and_nothing_is_lost(
    cluster: Cluster, wrong: dict[str, Wrong]
) -> None:
    """Workers that cannot come in say why and keep trying; the messages wait for one that can."""
    assert cluster.fleet.stop(POOL) == 0
    for name, each in wrong.items():
        without = (part for left_out in each.left_out for part in ("-u", left_out))
        cluster.fleet.start(
            name, arguments=(POOL,), user=POOL, prefix=("env", *without), **each.changed
        )
    workflow = cluster.post("grace")

    def is_said(name: str) -> bool:
        return wrong[name].sentence in cluster.fleet.log(name)

    for name in wrong:
        wait_until(lambda name=name: is_said(name), SECONDS, name)  # type: ignore[misc]
    # The login's, and the canary's probe when it has come by meanwhile; none is in anybody's hands.
    waiting = "SELECT count(*) FROM step WHERE queue = %s AND state = 'ready'"

    def holds_what_waits() -> bool:
        [(steps,)] = cluster.rows(waiting, POOL)
        return steps >= 1 and cluster.node.peek(POOL, load().vhost) == (steps, 0)

    wait_until(holds_what_waits, SECONDS)
    assert [cluster.fleet.stop(name) for name in wrong] == [0] * len(wrong)

    cluster.fleet.start(POOL)
    assert cluster.ended(workflow) == ["done"]


def test_a_gateway_that_cannot_publish_accepts_all_the_same(
    cluster: Cluster, wrong: dict[str, Wrong]
) -> None:
    """Its login is committed, its log says why, and the relay publishes."""
    port = free_port()
    cluster.fleet.start(
        "second gateway",
        "services.gateway",
        user="gateway",
        **{"DOORBELL_LISTEN_PORT": str(port), **wrong["another CA"].changed},
    )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        wait_until(lambda: _is_up(client), SECONDS)
        login = {
            "event_id": "behind-the-wrong-ca",
            "user_id": "hedy",
            "occurred_at": "2026-11-25T10:00:00Z",
            "ip": "203.0.113.7",
            "user_agent": "x",
        }
        answer = client.post("/v1/logins", json=login, headers={"Authorization": f"Bearer {KEY}"})
    assert answer.status_code == 202
    assert cluster.ended(answer.json()["workflow_id"]) == ["done"]
    assert wrong["another CA"].sentence in cluster.fleet.log("second gateway")


def _is_up(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_publisher_says_what_is_wrong(cluster: Cluster, wrong: dict[str, Wrong]) -> None:
    """No message counts as sent, and the error is a sentence."""
    environment = cluster.fleet.environment("gateway")
    doorbell = {k: v for k, v in environment.items() if k.startswith("DOORBELL_")}
    for name in ("another CA", "another name", "no certificate", "a stranger"):
        each = wrong[name]
        changed = {k: v for k, v in {**doorbell, **each.changed}.items() if k not in each.left_out}
        app = make_app(settings.load(changed), load())

        def complaint(app: DoorbellApp = app) -> str:
            message = Message("step", "x", "doorbell", "maintenance", {}, {}, "[]")
            with pytest.raises(Unavailable) as caught:
                Publisher(app, 5.0).publish([message])
            return str(caught.value)

        # A busy machine may be too slow for the first attempt.
        wait_until(lambda: each.sentence in complaint(), SECONDS, name)  # noqa: B023
        app.close()


def test_an_operator_comes_in_too(
    cluster: Cluster, operator: None, capfd: pytest.CaptureFixture[str]
) -> None:
    """Dead letters, remote control, and the doctor, who says how long the broker's certificate is good."""
    assert run(["dead", "list", "--json"]) == 0
    capfd.readouterr()
    assert run(["pool", "list", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert {row["pool"]: row["state"] for row in told} == dict.fromkeys(load().pools, "consuming")
    run(["doctor"])
    told = capfd.readouterr().out
    assert "ok      broker: RabbitMQ" in told
    # The tests' certificates are made for two days.
    assert "wrong   broker's TLS: TLSv1.3; the certificate of broker is good for 1 days" in told


def test_beat_sees_when_the_brokers_certificate_ends(cluster: Cluster) -> None:
    """What Prometheus is told is a time, two days from now for the tests' certificates."""
    environment = cluster.fleet.environment("beat")
    doorbell = {k: v for k, v in environment.items() if k.startswith("DOORBELL_")}
    app = make_app(settings.load(doorbell), load())
    days = (broker_certificate_end(app) - time.time()) / 86400
    app.close()
    assert 1 < days <= 2


def test_the_doctor_names_what_is_wrong(
    cluster: Cluster,
    operator: None,
    wrong: dict[str, Wrong],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same sentences, with what to do."""

    def told(each: Wrong) -> str:
        with monkeypatch.context() as patch:
            for variable, value in each.changed.items():
                patch.setenv(variable, value)
            for variable in each.left_out:
                patch.delenv(variable)
            assert run(["doctor"]) == 1
        return capfd.readouterr().out

    for name, each in wrong.items():
        if name == "TLS there":
            assert "if it speaks TLS there, set DOORBELL_BROKER_CA_FILE" in told(each)
            continue
        mend = "correct the DOORBELL_BROKER_..._FILE and _SERVER_NAME settings"
        sentences = f"{each.sentence}.*{mend}"
        # A busy machine may be too slow, and an alert may be lost with its connection.
        wait_until(lambda: re.search(sentences, told(each), re.DOTALL), SECONDS, name)  # noqa: B023


def test_flower_sees_the_workers(cluster: Cluster) -> None:
    """With the same variables as every other process, and the broker's user that may only observe."""
    port = free_port()
    conf = ROOT / "deploy" / "flower" / "flowerconfig.py"
    cluster.fleet.start(
        "flower",
        "celery",
        (
            *("--app=deploy.flower.app", "flower", f"--conf={conf}"),
            *("--address=127.0.0.1", f"--port={port}"),
        ),
        FLOWER_BASIC_AUTH="a:b",
    )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", auth=("a", "b")) as client:

        def sees() -> bool:
            try:
                return POOL in client.get("/workers?json=1").text
            except httpx.TransportError:
                return False

        wait_until(sees, SECONDS, cluster.fleet.log("flower"))


def test_verify_speaks_https(
    cluster: Cluster, authority: Authority, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`python -m routing verify` and `doorbell topology verify`, by a CA and a client's certificate."""
    node: PrivateRabbitMQ = cluster.node
    (tmp_path / "password").write_text(passwords()["operator"])
    url = f"https://127.0.0.1:{node.tls_management_port}"
    own = node.client_settings()
    who = ("--management-url", url, "--user", "operator")
    who = (*who, "--password-file", str(tmp_path / "password"))
    ca = ("--ca-file", str(authority.file))
    pair = ("--certificate-file", own[CERTIFICATE], "--key-file", own[PRIVATE])

    assert routing(["verify", *who, *ca, *pair, "--without-users"]) == 0
    assert run(["topology", "verify", *who, *ca, *pair]) == 0
    capfd.readouterr()
    assert routing(["verify", *who, *ca, "--without-users"]) == 2
    assert run(["topology", "verify", *who]) == 3
    assert "did not list vhosts" in capfd.readouterr().err
    assert routing(["verify", *who, *ca, *pair[:2], "--without-users"]) == 2
    assert "a certificate and its key go together" in capfd.readouterr().err
