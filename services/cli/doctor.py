"""`doorbell doctor`: what is wrong on this machine, and how to mend it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import smtplib
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import amqp
import psycopg
import requests
from kombu import Connection as BrokerConnection
from kombu.exceptions import OperationalError as BrokerError

from routing.load import load as load_topology
from routing.management import ManagementApi, TlsFiles
from services.broker_tls import BrokerTls, certificate_end, explain, is_tls
from services.cli.database import connected, fetch
from services.cli.endpoints import Endpoints, find, without_credentials
from services.cli.migrations import pending
from services.cli.topology import management, verify
from services.domain.errors import DoorbellError
from services.ledger.drains import open_drains

Verdict = Literal["ok", "skipped", "wrong"]

PINNED = {"celery": "5.7.0", "kombu": "5.7.0"}
"""As in pyproject.toml: we rely on what stands in these releases alone."""
_NEEDED = ("fastapi", "prometheus-client", "psycopg", "pydantic", "requests", "uvicorn")
_MOST_SKEW_SECONDS = 2.0
_LEAST_DAYS = 14
_TIMEOUT_SECONDS = 5.0

_LOOKS = 2
_STATISTICS_SECONDS = 6.0
"""RabbitMQ's own figures of its queues are up to 5 s old."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `mend` says what to do, and is empty unless it is wrong."""

    what: str
    verdict: Verdict
    detail: str
    mend: str = ""


def examine() -> Iterator[Finding]:
    """Look at everything, one after the other; a thing that is wrong stops nothing else."""
    yield from _python()
    yield _topology()
    try:
        endpoints = find()
    except DoorbellError as error:
        yield Finding("settings", "wrong", str(error), "set them, or run: make up")
        return
    yield Finding("settings", "ok", f"from {endpoints.source}")
    checks: tuple[Callable[[Endpoints], Iterator[Finding]], ...] = (
        _database,
        _drains,
        _broker,
        _broker_topology,
        _outlier_api,
        _mail_server,
        _gateway,
    )
    for check in checks:
        yield from check(endpoints)


def _python() -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding("Python", "ok", version)
    wrong = []
    for package in (*PINNED, *_NEEDED):
        try:
            found = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{package} is missing")
            continue
        if found != PINNED.get(package, found):
            wrong.append(f"{package} is {found}, not {PINNED[package]}")
    if wrong:
        yield Finding("packages", "wrong", "; ".join(wrong), "pip install -r requirements.txt")
    else:
        yield Finding("packages", "ok", f"Celery {PINNED['celery']}")
    if importlib.util.find_spec("librabbitmq") is None:
        yield Finding("librabbitmq", "ok", "not installed, as it should be")
    else:
        detail = "installed: amqp:// would silently use it, without confirms and without TLS"
        yield Finding("librabbitmq", "wrong", detail, "pip uninstall librabbitmq")


def _topology() -> Finding:
    try:
        topology = load_topology()
    except DoorbellError as error:
        return Finding("topology", "wrong", str(error), "mend the lines named")
    return Finding("topology", "ok", f"{len(topology.pools)} pools, {len(topology.tasks)} tasks")


def _database(endpoints: Endpoints) -> Iterator[Finding]:
    address = without_credentials(endpoints.database_url)[0]
    try:
        before = datetime.now(UTC)
        with connected(endpoints.database_url) as connection:
            [server] = fetch(connection, "server")
            [standby] = fetch(connection, "is_standby_missing")
        after = datetime.now(UTC)
        yield Finding("database", "ok", f"PostgreSQL {server['version']} at {address}")
        missing = pending(endpoints.database_url)
    except psycopg.Error as error:
        mend = "start PostgreSQL, or correct DOORBELL_DATABASE_URL"
        yield Finding("database", "wrong", f"{address} does not answer: {_line(error)}", mend)
        return
    except DoorbellError as error:
        yield Finding("schema", "wrong", str(error), "run doorbell from a checkout")
        return
    if missing:
        detail = f"{len(missing)} migrations are missing: {', '.join(missing)}"
        yield Finding("schema", "wrong", detail, "doorbell migrate")
    else:
        yield Finding("schema", "ok", "migrated")
    if standby["is_standby_missing"]:
        detail = "they wait for a standby, and none of those that are named is connected"
        yield Finding("commits", "wrong", detail, "deploy/runbooks/StandbyMissing.md")
    else:
        yield Finding("commits", "ok", "they wait for nobody who is not there")
    yield _clock(server["now"], before, after)


def _clock(theirs: datetime, before: datetime, after: datetime) -> Finding:
    # The connection took time too; only what lies outside of it is skew.
    skew = max((before - theirs).total_seconds(), (theirs - after).total_seconds(), 0.0)
    detail = f"{skew:.1f} s from the database's"
    if skew <= _MOST_SKEW_SECONDS:
        return Finding("clock", "ok", detail)
    return Finding("clock", "wrong", detail, "keep both hosts' time with NTP (chrony)")


def _drains(endpoints: Endpoints) -> Iterator[Finding]:
    try:
        with connected(endpoints.database_url) as connection:
            found = open_drains(connection)
    except psycopg.Error:
        return  # said already of the database
    if not found:
        yield Finding("drains", "ok", "every process may take messages")
    for each in found:
        detail = (
            f"{each.scope} was drained by {each.drained_by}, {each.drained_at:%Y-%m-%d %H:%M %Z}"
        )
        yield Finding("drains", "wrong", detail, f"when it shall work again: {each.way_back}")


def _broker(endpoints: Endpoints) -> Iterator[Finding]:
    address = without_credentials(endpoints.broker_url)[0]
    tls = endpoints.broker_tls
    connection: Any = BrokerConnection(
        endpoints.broker_url,
        connect_timeout=_TIMEOUT_SECONDS,
        ssl=tls.options() if tls else False,
    )
    try:
        connection.connect()
        version = connection.connection.server_properties.get("version", "of unknown version")
        yield Finding("broker", "ok", f"RabbitMQ {version} at {address}")
        if tls:
            yield _certificate(connection.connection.transport.sock, tls)
        yield _workers(connection.connection)
    except (OSError, BrokerError, amqp.AMQPError) as error:
        yield _no_broker(address, error, endpoints)
    finally:
        connection.release()


def _workers(connection: amqp.Connection) -> Finding:
    """Asked of the queues themselves: the management interface's figures may lack a consumer for a while."""
    try:
        idle = [name for name in load_topology().queues if not _consumers(connection, name)]
    except amqp.AccessRefused as error:
        return Finding("workers", "skipped", f"this broker user may not ask: {_line(error)}")
    if not idle:
        return Finding("workers", "ok", "every queue has a consumer")
    detail = f"nobody consumes {', '.join(sorted(idle))}"
    return Finding("workers", "wrong", detail, "start the workers of these pools")


def _consumers(connection: amqp.Connection, queue: str) -> int:
    channel = connection.channel()
    try:
        declared: Any = channel.queue_declare(queue, passive=True)
    except amqp.NotFound:
        # It closes the channel. What is missing is the topology's affair.
        return 0
    channel.close()
    return int(declared.consumer_count)


def _no_broker(address: str, error: Exception, endpoints: Endpoints) -> Finding:
    if is_tls(error):
        mend = "correct the DOORBELL_BROKER_..._FILE and _SERVER_NAME settings, or renew the files"
        return Finding("broker", "wrong", f"{address}: {explain(error)}", mend)
    mend = "start RabbitMQ, or correct DOORBELL_BROKER_URL (user, password, vhost)"
    if endpoints.broker_tls is None:
        # A listener for TLS hangs up, or answers with what is no AMQP.
        mend += "; if it speaks TLS there, set DOORBELL_BROKER_CA_FILE"
    elif isinstance(error, ConnectionError):
        # The alert that says so may be lost with the connection.
        mend += "; it may refuse DOORBELL_BROKER_CERTIFICATE_FILE: its log says"
    return Finding("broker", "wrong", f"{address} does not answer: {_line(error)}", mend)


def _certificate(socket: ssl.SSLSocket, tls: BrokerTls) -> Finding:
    days = int(certificate_end(socket) - datetime.now(UTC).timestamp()) // 86400
    detail = f"{socket.version()}; the certificate of {tls.server_name} is good for {days} days"
    if days >= _LEAST_DAYS:
        return Finding("broker's TLS", "ok", detail)
    return Finding("broker's TLS", "wrong", detail, "renew it before it ends")


def _broker_topology(endpoints: Endpoints) -> Iterator[Finding]:
    if endpoints.rabbitmq_management is None:
        detail = "the management address is not known; doorbell topology verify takes one"
        yield Finding("broker's topology", "skipped", detail)
        return
    try:
        topology = load_topology()
        api = management(endpoints.rabbitmq_management, None, None, _files(endpoints.broker_tls))
        found = verify(topology, api, users=False)
        alarms = _alarms(api)
    except DoorbellError as error:
        mend = "start RabbitMQ with its management plugin, or correct that address"
        yield Finding("broker's topology", "wrong", _line(error), mend)
        return
    yield alarms
    if found:
        detail = "; ".join(str(difference) for difference in found[:5])
        mend = "import the definitions: python -m routing render"
        yield Finding("broker's topology", "wrong", f"{len(found)} differences: {detail}", mend)
    else:
        yield Finding("broker's topology", "ok", "as in routing/topology.yml")
    yield _dead_lettering(api, topology.vhost)


def _alarms(api: ManagementApi) -> Finding:
    """While a node has one, no node of its cluster takes messages."""
    found = [f"{alarm['node']} is short of {alarm['resource']}" for alarm in api.alarms()]
    if not found:
        return Finding("broker's alarms", "ok", "it takes messages")
    detail = f"it takes no messages: {', '.join(found)}"
    return Finding("broker's alarms", "wrong", detail, "deploy/runbooks/BrokerAlarm.md")


def _files(tls: BrokerTls | None) -> TlsFiles | None:
    if tls is None:
        return None
    ours = (
        (Path(tls.certificate_file), Path(tls.key_file))
        if tls.certificate_file and tls.key_file
        else (None, None)
    )
    return TlsFiles(Path(tls.ca_file), *ours)


def _dead_lettering(api: ManagementApi, vhost: str) -> Finding:
    """Whether the broker moves rejected and expired messages: what waits for it becomes less at times."""
    try:
        stuck = _to_be_moved(api, vhost)
        for _ in range(_LOOKS):
            if not stuck:
                break
            time.sleep(_STATISTICS_SECONDS)
            now = _to_be_moved(api, vhost)
            stuck = {name: now[name] for name, count in stuck.items() if now.get(name, 0) >= count}
    except DoorbellError as error:
        return Finding("dead letters", "wrong", _line(error), "is the management plugin on?")
    if not stuck:
        return Finding("dead letters", "ok", "the broker moves them")
    detail = f"the broker moves none of those in {', '.join(sorted(stuck))}"
    return Finding("dead letters", "wrong", detail, "deploy/runbooks/DeadLetteringStopped.md")


def _to_be_moved(api: ManagementApi, vhost: str) -> dict[str, int]:
    """How many messages of each queue are on their way to where its dead letters go."""
    rows = api.rows("queues", vhost)
    return {row["name"]: int(row["messages_dlx"]) for row in rows if row.get("messages_dlx")}


def _outlier_api(endpoints: Endpoints) -> Iterator[Finding]:
    if endpoints.outlier_api is None:
        yield Finding("outlier API", "skipped", "OUTLIER_API_URL is not set here")
        return
    address = without_credentials(endpoints.outlier_api)[0]
    try:
        # Nothing can be judged of an empty body: who knows the path refuses it, with or without a key.
        answer = requests.post(
            f"{endpoints.outlier_api.rstrip('/')}/v1/score",
            json={},
            timeout=_TIMEOUT_SECONDS,
            allow_redirects=False,
        )
    except requests.RequestException as error:
        problem: str | None = f"does not answer: {_line(error)}"
    else:
        problem = _no_outlier_api(answer.status_code)
    mend = "logins stay unscored until it answers: start it, or correct OUTLIER_API_URL"
    if problem:
        yield Finding("outlier API", "wrong", f"{address} {problem}", mend)
    else:
        yield Finding("outlier API", "ok", f"{address} answers")


def _no_outlier_api(status: int) -> str | None:
    """What is wrong with an API that answers an empty question like this."""
    if status in (404, 405):
        return f"has no POST /v1/score (it answers {status})"
    if 300 <= status < 400:
        return f"redirects (it answers {status}), which is not followed"
    return f"answers {status}" if status >= 500 else None


def _mail_server(endpoints: Endpoints) -> Iterator[Finding]:
    if endpoints.smtp_url is None:
        yield Finding("mail server", "skipped", "DOORBELL_SMTP_URL is not set here")
        return
    address = without_credentials(endpoints.smtp_url)[0]
    mend = "start it, or correct DOORBELL_SMTP_URL"
    try:
        parts = urlsplit(endpoints.smtp_url)
        kind = smtplib.SMTP_SSL if parts.scheme == "smtps" else smtplib.SMTP
        with kind(parts.hostname or "", parts.port or 0, timeout=_TIMEOUT_SECONDS) as server:
            server.noop()
    except (OSError, smtplib.SMTPException, ValueError) as error:
        detail = f"{address} does not answer: {_line(error)}"
        yield Finding("mail server", "wrong", detail, mend)
    else:
        yield Finding("mail server", "ok", f"{address} answers")


def _gateway(endpoints: Endpoints) -> Iterator[Finding]:
    if endpoints.gateway is None:
        yield Finding("gateway", "skipped", "its address is not known here")
        return
    mend = "make status shows what runs; its log says why it does not"
    try:
        answer = requests.get(f"{endpoints.gateway}/readyz", timeout=_TIMEOUT_SECONDS)
        problem = None if answer.ok else f"is not ready: {answer.text[:200]}"
    except requests.RequestException as error:
        problem = f"does not answer: {_line(error)}"
    if problem:
        yield Finding("gateway", "wrong", f"{endpoints.gateway} {problem}", mend)
    else:
        yield Finding("gateway", "ok", f"{endpoints.gateway} is ready")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
