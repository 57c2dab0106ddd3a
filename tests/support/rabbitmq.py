"""A private RabbitMQ node for tests: started, killed and restarted at will, on ports of its own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import requests
from kombu import Connection, pools

from routing.definitions import password_hash
from tests.support.certificates import Authority
from tests.support.debian13 import entered, root_in_use
from tests.support.ports import free_port

ADMINISTRATOR = "test_administrator"
SERVER_NAME = "broker"

_DEADLINE_SECONDS = 90.0
_TRIES = 3
# RabbitMQ 4.3 has neither any more: nothing of ours may need them.
_AS_IF_REMOVED = (
    "deprecated_features.permit.transient_nonexcl_queues = false\n"
    "deprecated_features.permit.global_qos = false\n"
)
_PLUGINS = "[rabbitmq_management,rabbitmq_prometheus].\n"
# A test run that is killed cleans nothing up: its end closes this script's input.
_GUARD = 'read -r _; kill -9 "-$1" "$2"; rm -rf -- "$3"'
# No busy waiting (the machine has other work) and no distribution port to the outside.
_ERLANG_ARGUMENTS = (
    "+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
)


class PrivateRabbitMQ:
    """A node with its own data, ports, cookie and port mapper, on the loopback address alone.

    `with PrivateRabbitMQ() as node:` starts it and removes everything at the end. There is no
    `guest`; the account ADMINISTRATOR, with `password`, may do everything. Definitions given
    here are loaded at each start, before a client is let in. With an authority, clients come by
    mutual TLS and verify the name SERVER_NAME; this class itself goes in beside it.
    """

    def __init__(
        self, definitions: Mapping[str, Any] | None = None, authority: Authority | None = None
    ) -> None:
        binaries, root = find_binaries(), root_in_use()
        self._directory = Path(tempfile.mkdtemp(prefix="doorbell-rabbitmq-"))
        inside = entered(root, self._directory) if root else []
        self._server = [*inside, str(binaries / "rabbitmq-server")]
        self._ctl = [*inside, str(binaries / "rabbitmqctl")]
        self._process: subprocess.Popen[bytes] | None = None
        self._mapper: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self.password = secrets.token_hex(16)
        ports = [free_port() for _ in range(7)]
        self.amqp_port, self.management_port, self.prometheus_port = ports[:3]
        self._distribution_port, self._mapper_port = ports[3:5]
        self.tls_port, self.tls_management_port = ports[5:]
        self._authority = authority
        self._client = authority.issue("client") if authority else None
        self._loaded = definitions or {}
        self._write_files()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    @property
    def pid(self) -> int:
        """Of the running node."""
        assert self._process is not None
        return self._process.pid

    @property
    def management_url(self) -> str:
        return f"http://127.0.0.1:{self.management_port}"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def version(self) -> tuple[int, ...]:
        """RabbitMQ's version, as the running node tells it."""
        told = str(self.manage("GET", "overview")["rabbitmq_version"])
        return tuple(int(part) for part in told.split("."))

    def broker_url(self, user: str, password: str, vhost: str) -> str:
        """The address that clients are given."""
        port = self.tls_port if self._authority else self.amqp_port
        return f"pyamqp://{user}:{password}@127.0.0.1:{port}/{vhost}"

    def client_settings(self) -> dict[str, str]:
        """What a process of ours needs in its environment beside the address."""
        if self._authority is None or self._client is None:
            return {}
        return {
            "DOORBELL_BROKER_CA_FILE": str(self._authority.file),
            "DOORBELL_BROKER_SERVER_NAME": SERVER_NAME,
            "DOORBELL_BROKER_CERTIFICATE_FILE": str(self._client.file),
            "DOORBELL_BROKER_KEY_FILE": str(self._client.key),
        }

    def start(self) -> None:
        """Start the node and wait until clients can connect."""
        mapper = self._start_mapper()
        with (self._directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                self._server,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._directory,
                env=self._environment(),
                start_new_session=True,
            )
        self._guard = subprocess.Popen(
            [
                "/bin/sh",
                "-c",
                _GUARD,
                "guard",
                *map(str, (self._process.pid, mapper, self._directory)),
            ],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._wait_until_it_answers(self._process)
        self._enter_vhosts(self._loaded)

    def stop(self) -> None:
        """Shut down in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the node with SIGKILL, as a lost machine would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop, then start on the same ports with the same data."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """End the node and delete its data."""
        self.kill()
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait(_DEADLINE_SECONDS)
        shutil.rmtree(self._directory, ignore_errors=True)

    def import_definitions(self, definitions: Mapping[str, Any]) -> None:
        """Import definitions into the running node, as `rabbitmqctl import_definitions` does."""
        self.manage("POST", "definitions", definitions)
        self._enter_vhosts(definitions)

    def empty(self) -> None:
        """Take every vhost and every account but the administrator's away."""
        for vhost in self.manage("GET", "vhosts"):
            self.manage("DELETE", f"vhosts/{vhost['name']}")
        for user in self.manage("GET", "users"):
            if user["name"] != ADMINISTRATOR:
                self.manage("DELETE", f"users/{user['name']}")
        self._forget_pooled_connections()

    def renew(self, definitions: Mapping[str, Any]) -> None:
        """As a new node with these definitions: started if it was left stopped, and nothing else on it."""
        self._loaded = definitions
        self._write_definitions()
        if not self.is_running:
            self.start()
        self.empty()
        self.import_definitions(definitions)

    def manage(self, method: str, path: str, body: object = None) -> Any:
        """Ask the management interface as the administrator; returns the answer's JSON, if any."""
        answer = requests.request(
            method,
            f"{self.management_url}/api/{path}",
            auth=(ADMINISTRATOR, self.password),
            json=body,
            timeout=60,
        )
        if not answer.ok:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def cut_off(self, user: str) -> None:
        """Close all of a user's connections."""
        path = f"connections/username/{user}"
        for _ in range(_TRIES - 1):
            try:
                self.manage("DELETE", path)
            except RuntimeError:
                # 500 when one of them has ended by itself meanwhile; the rest are still open then.
                continue
            return
        self.manage("DELETE", path)

    def peek(self, queue: str, vhost: str) -> tuple[int, int]:
        """A queue's ready messages and consumers at this moment; management is seconds behind."""
        beside = f"127.0.0.1:{self.amqp_port}/{vhost}"
        with Connection(f"pyamqp://{ADMINISTRATOR}:{self.password}@{beside}") as connection:
            channel: Any = connection.default_channel
            found = channel.queue_declare(queue, passive=True)
            return int(found.message_count), int(found.consumer_count)

    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl on this node and return what it prints."""
        for _ in range(_TRIES):
            done = subprocess.run(
                [*self._ctl, *arguments],
                check=False,
                capture_output=True,
                text=True,
                env=self._environment(),
                timeout=_DEADLINE_SECONDS,
            )
            # Seen now and then on a busy machine, and gone with the next try.
            if done.returncode != os.EX_UNAVAILABLE:
                break
        try:
            done.check_returncode()
        except subprocess.CalledProcessError as error:
            error.add_note(done.stderr)
            raise
        return done.stdout

    def log(self) -> str:
        """The end of what the node has printed."""
        return (self._directory / "output").read_text(errors="replace")[-4000:]

    def _forget_pooled_connections(self) -> None:
        """Kombu keeps those of all apps of a process by address; a deleted vhost's are closed at the other end."""
        for address, pool in list(pools.connections.items()):
            if pool.connection.port in (self.amqp_port, self.tls_port):
                # A pool closed by force has lost its places: whoever took from it again would wait for ever.
                pool.force_close_all()
                pools.connections.pop(address)
                pools.producers.pop(address, None)

    def _enter_vhosts(self, definitions: Mapping[str, Any]) -> None:
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        for vhost in definitions.get("vhosts", ()):
            self.manage("PUT", f"permissions/{vhost['name']}/{ADMINISTRATOR}", everything)

    def _write_files(self) -> None:
        loaded = self._directory / "definitions"
        loaded.mkdir()
        administrator = {
            "users": [
                {
                    "name": ADMINISTRATOR,
                    "tags": ["administrator"],
                    "hashing_algorithm": "rabbit_password_hashing_sha256",
                    "password_hash": password_hash(self.password),
                }
            ]
        }
        (loaded / "administrator.json").write_text(json.dumps(administrator))
        self._write_definitions()
        (self._directory / "plugins").write_text(_PLUGINS)
        (self._directory / "environment").touch()
        (self._directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.amqp_port}\n"
            "management.tcp.ip = 127.0.0.1\n"
            f"management.tcp.port = {self.management_port}\n"
            "prometheus.tcp.ip = 127.0.0.1\n"
            f"prometheus.tcp.port = {self.prometheus_port}\n"
            f"load_definitions = {loaded}\n"
            "disk_free_limit.absolute = 50MB\n"
            "log.console = true\n"
            "log.file = false\n"
            + (_AS_IF_REMOVED if root_in_use() else "")
            + self._tls_configuration()
        )

    def _write_definitions(self) -> None:
        (self._directory / "definitions" / "given.json").write_text(json.dumps(self._loaded))

    def _tls_configuration(self) -> str:
        if self._authority is None:
            return ""
        own = self._authority.issue("server", SERVER_NAME, "127.0.0.1")
        # Inside another Debian's root only this directory is seen.
        ca, certificate, key = (
            shutil.copy(file, self._directory) for file in (self._authority.file, own.file, own.key)
        )
        options = {
            "cacertfile": ca,
            "certfile": certificate,
            "keyfile": key,
            "verify": "verify_peer",
            "fail_if_no_peer_cert": "true",
            "versions.1": "tlsv1.3",
            "versions.2": "tlsv1.2",
        }
        lines = [
            f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}",
            "management.ssl.ip = 127.0.0.1",
            f"management.ssl.port = {self.tls_management_port}",
            *(
                f"{section}.{name} = {value}"
                for section in ("ssl_options", "management.ssl")
                for name, value in options.items()
            ),
        ]
        return "\n".join(lines) + "\n"

    def _environment(self) -> dict[str, str]:
        directory = str(self._directory)
        return {
            "PATH": os.environ["PATH"],
            "HOME": directory,
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": "doorbell@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_CONF_ENV_FILE": f"{directory}/environment",
            "RABBITMQ_CONFIG_FILE": f"{directory}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{directory}/none.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{directory}/plugins",
            "RABBITMQ_MNESIA_BASE": f"{directory}/data",
            "RABBITMQ_LOG_BASE": f"{directory}/log",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG_ARGUMENTS,
        }

    def _start_mapper(self) -> int:
        # Left to itself, Erlang starts one that outlives the node.
        if self._mapper is None:
            program = shutil.which("epmd") or "epmd"
            self._mapper = subprocess.Popen(
                [program, "-port", str(self._mapper_port), "-address", "127.0.0.1"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self._mapper.pid

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"RabbitMQ ended at start:\n{self.log()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"RabbitMQ does not answer:\n{self.log()}")
            try:
                with socket.create_connection(("127.0.0.1", self.amqp_port), timeout=1):
                    self.manage("GET", "overview")
            except (OSError, RuntimeError):
                time.sleep(0.1)
            else:
                return

    def _end(self, how: signal.Signals) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        if self._process is not None and self.is_running:
            os.killpg(self._process.pid, how)
            self._process.wait(_DEADLINE_SECONDS)
            # The script that started the virtual machine may end before it.
            _wait_until_gone(self._process.pid)
        self._process = None


def find_binaries() -> Path:
    """Where RabbitMQ's scripts are; skips the test on a laptop without them, fails in CI.

    Inside another Debian's root they stand where Debian puts them.
    """
    candidates = [Path("/usr/lib/rabbitmq/bin")]
    if root := root_in_use():
        if not (root / "usr/lib/rabbitmq/bin/rabbitmq-server").exists():
            pytest.fail(f"there is no RabbitMQ in {root}: start tests with tests.support.debian13")
        return candidates[0]
    if found := shutil.which("rabbitmq-server"):
        candidates.append(Path(found).resolve().parent)
    for candidate in candidates:
        if (candidate / "rabbitmq-server").exists() and shutil.which("epmd"):
            return candidate
    reason = "RabbitMQ's server programs are missing: install the package rabbitmq-server"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _wait_until_gone(group: int) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while any(_is_alive_in(group, entry) for entry in Path("/proc").glob("[0-9]*")):
        if time.monotonic() > deadline:
            raise RuntimeError(f"RabbitMQ's processes of group {group} do not end")
        time.sleep(0.02)


def _is_alive_in(group: int, entry: Path) -> bool:
    try:
        state, _, its_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z" and int(its_group) == group
