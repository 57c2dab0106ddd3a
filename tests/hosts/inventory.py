"""The inventory of the test's fleet: the groups of its hosts, and the settings that a user gives as well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.hosts.image import USER
from tests.hosts.network import HOSTS, OUTSIDE, ZONES, Host

Groups = dict[str, Any]


def write(
    directory: Path,
    settings: Mapping[str, object],
    more_groups: Mapping[str, tuple[str, ...]] | None = None,
) -> None:
    """Write hosts.yml and group_vars/all/main.yml; secrets beside them are left alone.

    more_groups: those of spare hosts that join the fleet.
    """
    joined = {name: HOSTS[name].groups for name in HOSTS if HOSTS[name].groups}
    joined |= more_groups or {}
    variables = directory / "group_vars" / "all"
    variables.mkdir(parents=True, exist_ok=True)
    (directory / "hosts.yml").write_text(yaml.safe_dump(_tree(joined), sort_keys=False))
    (variables / "main.yml").write_text(yaml.safe_dump(dict(settings), sort_keys=False))


def reach(directory: Path, key: Path) -> dict[str, object]:
    """How the controller comes in; `directory` is for what SSH remembers."""
    ssh = {
        "UserKnownHostsFile": directory / "known_hosts",
        "StrictHostKeyChecking": "accept-new",
        "ConnectTimeout": 10,
        "ServerAliveInterval": 5,
        "ServerAliveCountMax": 3,
    }
    return {
        "ansible_user": USER,
        "ansible_ssh_private_key_file": str(key),
        "ansible_ssh_common_args": " ".join(f"-o {name}={value}" for name, value in ssh.items()),
        # All hosts are logged in to at once, on the same few cores.
        "ansible_timeout": 60,
        # The router of each zone, which the controller's connections come from.
        "firewall_management_networks": [f"{network[1]}/32" for network in ZONES.values()],
    }


def small() -> dict[str, object]:
    """What keeps hosts light: a container sees the memory, and the clock, of the whole machine."""
    return {
        "base_require_time_sync": False,
        "postgresql_shared_buffers_mb": 128,
        "postgresql_effective_cache_size_mb": 512,
        "postgresql_max_wal_size": "512MB",
        "postgresql_wal_keep_size": "128MB",
        "rabbitmq_memory_high_watermark": 0.2,
        # It takes two files for each, and refuses to start with fewer than that.
        "haproxy_max_connections": 2000,
    }


def world(outlier_api_port: int, smtp_port: int) -> dict[str, object]:
    """What the test runs outside the fleet: the outlier API, webhooks, the mail server."""
    return {
        "firewall_more_outputs": [{"networks": [f"{OUTSIDE}/32"], "ports": ["1024-65535"]}],
        "doorbell_outlier_api_url": f"http://{OUTSIDE}:{outlier_api_port}",
        "doorbell_smtp_url": f"smtp://{OUTSIDE}:{smtp_port}",
        "doorbell_mail_from": "doorbell@example.org",
        "doorbell_allowed_private_hosts": [str(OUTSIDE)],
    }


def _tree(joined: Mapping[str, tuple[str, ...]]) -> Groups:
    groups = {group for names in joined.values() for group in names}
    members = {
        group: {"hosts": _lines(HOSTS[name] for name in joined if group in joined[name])}
        for group in sorted(groups)
    }
    pools = {group: members.pop(group) for group in list(members) if group.startswith("pool_")}
    return {"all": {"children": members | {"pools": {"children": pools}}}}


def _lines(hosts: Iterable[Host]) -> Groups:
    return {host.name: {"ansible_host": str(host.address)} for host in hosts}
