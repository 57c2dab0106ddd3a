"""The private RabbitMQ node of a local cluster, and the port mapper (epmd) that only it uses."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import amqp
import requests

from deploy.local.layout import Layout
from deploy.local.passwords import read_or_make, write
from deploy.local.ports import HOST
from deploy.local.process import ClusterError, Process
from routing.definitions import definitions
from routing.permissions import permissions
from routing.render import write_complete_definitions
from routing.topology import Topology

NODE = "doorbell@localhost"
OPERATOR = "operator"
"""The broker user that people and `endpoints.json` get."""

_PLUGINS = ("rabbitmq_management", "rabbitmq_prometheus")
_TEMPLATE = Path(__file__).with_name("rabbitmq.conf.template")


def password(layout: Layout, user: str) -> str:
    """The password of a broker user."""
    return read_or_make(layout.secrets / "broker" / user)


def url(layout: Layout, user: str, port: int, vhost: str) -> str:
    """The address of the broker for one of its users."""
    return f"pyamqp://{user}:{password(layout, user)}@{HOST}:{port}/{quote(vhost, safe='')}"


def write_url(layout: Layout, user: str, port: int, vhost: str) -> Path:
    """Write the address to a secret file for the user's processes, and return the file."""
    path = layout.secrets / "broker_url" / user
    write(path, url(layout, user, port, vhost))
    return path


def configure(layout: Layout, ports: Mapping[str, int], topology: Topology) -> None:
    """Write the node's configuration, definitions and cookie."""
    write_complete_definitions(topology, layout.secrets / "broker", _definitions(layout))
    template = _TEMPLATE.read_text()
    _configuration(layout).write_text(
        template.format(
            host=HOST,
            port=ports["rabbitmq"],
            management_port=ports["rabbitmq_management"],
            metrics_port=ports["rabbitmq_prometheus"],
            definitions=_definitions(layout),
        )
    )
    (layout.rabbitmq / "enabled_plugins").write_text(f"[{','.join(_PLUGINS)}].\n")
    (layout.rabbitmq / "rabbitmq-env.conf").write_text("")
    cookie = layout.rabbitmq / ".erlang.cookie"
    if not cookie.exists():
        write(cookie, read_or_make(layout.secrets / "erlang_cookie"))
        cookie.chmod(0o400)


def processes(layout: Layout, ports: Mapping[str, int], topology: Topology) -> list[Process]:
    """The port mapper and the node; a changed configuration or definition restarts the node."""
    # Not the file with the definitions: its password hashes have a new salt every time.
    shape = json.dumps([definitions(topology), permissions(topology)])
    digest = hashlib.sha256(_configuration(layout).read_bytes() + shape.encode())
    settings = environment(layout, ports) | {"CONFIGURATION_DIGEST": digest.hexdigest()}
    epmd = shutil.which("epmd")
    if epmd is None:
        raise ClusterError("Erlang's epmd is not installed: call deploy/local/setup")
    return [
        Process(
            name="epmd",
            command=(epmd, "-port", str(ports["epmd"]), "-address", HOST),
            directory=layout.rabbitmq,
            probe=lambda: None,
            stop_signal="KILL",  # it keeps nothing, and takes seconds over a polite request
        ),
        Process(
            name="rabbitmq",
            command=(str(find_binary("rabbitmq-server")),),
            directory=layout.rabbitmq,
            environment=settings,
            probe=lambda: _probe(layout, ports, topology.vhost),
            stop_seconds=60,
            address=f"{HOST}:{ports['rabbitmq']}",
        ),
    ]


def environment(layout: Layout, ports: Mapping[str, int]) -> dict[str, str]:
    """Of the node, and of every tool that is to find it."""
    here = layout.rabbitmq
    return {
        "HOME": str(here),  # the cookie's place
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "ERL_EPMD_PORT": str(ports["epmd"]),
        "ERL_EPMD_ADDRESS": HOST,
        "RABBITMQ_NODENAME": NODE,
        "RABBITMQ_DIST_PORT": str(ports["rabbitmq_distribution"]),
        "RABBITMQ_CONF_ENV_FILE": str(here / "rabbitmq-env.conf"),
        "RABBITMQ_CONFIG_FILE": str(_configuration(layout)),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(here / "advanced.config"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(here / "generated"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
        "RABBITMQ_FEATURE_FLAGS_FILE": str(here / "feature_flags"),
        "RABBITMQ_MNESIA_BASE": str(here / "data"),
        "RABBITMQ_MNESIA_DIR": str(here / "data" / "node"),
        "RABBITMQ_PID_FILE": str(here / "node.pid"),
        "RABBITMQ_LOG_BASE": str(here),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false",
        # The script then becomes the node instead of watching over it, so that
        # the supervisor's signals, and a kill, meet the node itself.
        "RUNNING_UNDER_SYSTEMD": "true",
    }


def count_consumers(layout: Layout, port: int, vhost: str, queue: str) -> int:
    """How many consumers a queue has at this moment.

    Raises:
        OSError, amqp.AMQPError: the broker does not answer, or there is no such queue.
    """
    with _connect(layout, port, vhost) as connection, closing(connection.channel()) as channel:
        declared = channel.queue_declare(queue, passive=True)
        return int(declared[2]) if declared else 0


def _configuration(layout: Layout) -> Path:
    return layout.rabbitmq / "rabbitmq.conf"


def _definitions(layout: Layout) -> Path:
    return layout.rabbitmq / "definitions.json"


def _probe(layout: Layout, ports: Mapping[str, int], vhost: str) -> None:
    with _connect(layout, ports["rabbitmq"], vhost):
        pass
    answer = requests.get(
        f"http://{HOST}:{ports['rabbitmq_management']}/api/vhosts",
        auth=(OPERATOR, password(layout, OPERATOR)),
        timeout=5,
    )
    answer.raise_for_status()


def _connect(layout: Layout, port: int, vhost: str) -> amqp.Connection:
    return amqp.Connection(
        f"{HOST}:{port}",
        userid=OPERATOR,
        password=password(layout, OPERATOR),
        virtual_host=vhost,
        connect_timeout=2,
        read_timeout=5,
    )


def find_binary(name: str) -> Path:
    """One of RabbitMQ's programs.

    Raises:
        ClusterError: it is not installed.
    """
    # Not the one on the PATH: Debian's wrapper there changes to the system node's user.
    path = Path("/usr/lib/rabbitmq/bin") / name
    if not path.exists():
        raise ClusterError(f"RabbitMQ's {name} is not installed: call deploy/local/setup")
    return path
