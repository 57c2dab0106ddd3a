"""What operators can get wrong for ansible/ is told by name, before anything is changed, and no secret with it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE = ROOT / "ansible"
PLAYBOOK = ROOT / ".venv-ansible" / "bin" / "ansible-playbook"
SECRET = "hunter2-in-clear"
VAULT = {
    "vault_broker_administrator_password": SECRET,
    "vault_broker_passwords": {"flower": SECRET, "gateway": SECRET},
    "vault_database_password": SECRET,
    "vault_erlang_cookie": SECRET,
    "vault_flower_password": SECRET,
    "vault_flower_viewers_password": SECRET,
    "vault_haproxy_stats_password": SECRET,
    "vault_outlier_api_key": SECRET,
    "vault_replication_password": SECRET,
}
OPTIONS = {
    path.parents[1].name: yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"]
    for path in sorted(ANSIBLE.glob("roles/*/meta/argument_specs.yml"))
}
WITH_SECRETS = [
    role
    for role in OPTIONS
    if "vault_" in (ANSIBLE / "roles" / role / "defaults" / "main.yml").read_text()
]


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """The production inventory's example, with secrets."""
    if not PLAYBOOK.exists():
        if os.environ.get("CI"):
            pytest.fail("there is no .venv-ansible: deploy/local/setup --ansible")
        pytest.skip("there is no .venv-ansible: deploy/local/setup --ansible")
    directory = tmp_path / "inventory"
    shutil.copytree(ANSIBLE / "inventories" / "production", directory)
    (directory / "group_vars" / "all" / "vault.yml").write_text(yaml.safe_dump(VAULT))
    pools = yaml.safe_load((directory / "hosts.yml").read_text())["all"]["children"]["pools"]
    for pool, group in pools["children"].items():
        # One host of each is enough, and each host takes its time.
        name, host = next(iter(group["hosts"].items()))
        change(directory, "children", "pools", "children", pool, "hosts", to={name: host})
        change(directory, "children", "schedulers", "hosts", to={name: host})
    return directory


@pytest.fixture
def small(inventory: Path) -> Path:
    """The same with one host in each group, and one for all pools: what is looked at on each host is quick."""
    hosts = yaml.safe_load((inventory / "hosts.yml").read_text())["all"]["children"]
    for group in ("brokers", "databases", "gateways"):
        name, host = next(iter(hosts[group]["hosts"].items()))
        change(inventory, "children", group, "hosts", to={name: host})
    worker = hosts["schedulers"]["hosts"]
    for pool in hosts["pools"]["children"]:
        change(inventory, "children", "pools", "children", pool, "hosts", to=worker)
    return inventory


def play(inventory: Path, playbook: Path | str, *options: str) -> tuple[int, str]:
    """Run a playbook that never gets as far as a host; returns its status and what it printed."""
    ended = subprocess.run(
        [PLAYBOOK, "-i", inventory, ANSIBLE / playbook, *options],
        check=False,
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"), "ANSIBLE_FORKS": "2"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return ended.returncode, re.sub(r"\s+", " ", ended.stdout + ended.stderr)


def change(inventory: Path, *path: str, to: Any) -> None:
    """Set, or with None delete, one entry of hosts.yml."""
    file = inventory / "hosts.yml"
    content = yaml.safe_load(file.read_text())
    inner = content["all"]
    for key in path[:-1]:
        inner = inner[key]
    if to is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    # Aliases would change two groups at once.
    dumper = type("Plain", (yaml.SafeDumper,), {"ignore_aliases": lambda *_: True})
    file.write_text(yaml.dump(content, Dumper=dumper))


def test_the_example_is_whole(inventory: Path) -> None:
    status, told = play(inventory, "check_inventory.yml")
    assert status == 0, told


@pytest.mark.parametrize(
    ("path", "to", "named"),
    [
        (
            ("children", "pools", "children", "pool_db_writes", "hosts"),
            {},
            "pool_db_writes: the group has no host",
        ),
        (
            ("children", "pools", "children", "pool_db_writes"),
            None,
            "pool_db_writes: no such group",
        ),
        (("children", "schedulers", "hosts"), {}, "schedulers: the group has no host"),
        (("children", "backups"), None, "backups: no such group"),
        (
            ("children", "gateways", "hosts", "gateway2", "ansible_host"),
            "198.51.100.31",
            "gateway1 and gateway2 have one doorbell_address, 198.51.100.31",
        ),
    ],
)
def test_a_group_or_an_address_is_named(
    inventory: Path, path: tuple[str, ...], to: Any, named: str
) -> None:
    """Before any host is asked: site.yml begins with it."""
    change(inventory, *path, to=to)
    status, told = play(inventory, "site.yml")
    assert status, told
    assert named in told
    assert "Gathering Facts" not in told


def test_the_outlier_apis_group_may_be_left_out(small: Path) -> None:
    change(small, "children", "outlier_apis", to=None)
    status, told = play(small, "check_inventory.yml")
    assert status == 0, told


def test_a_missing_secret_is_named_with_the_way_to_it(inventory: Path) -> None:
    (inventory / "group_vars" / "all" / "vault.yml").write_text("{}")
    status, told = play(inventory, "site.yml")
    assert status
    assert "vault_database_password" in told
    assert "ansible/make_secrets" in told


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ({"doorbell_smtp_url": "mail.example.org"}, "doorbell_smtp_url"),
        (
            {"firewall_outputs": {"pool_notification": [25]}},
            "firewall_outputs names pool_notification",
        ),
        ({"firewall_management_networks": ["controller"]}, "firewall_management_networks"),
        ({"firewall_world_networks": "10.0.0.0/8"}, "firewall_world_networks"),
    ],
)
def test_a_setting_is_named(small: Path, setting: dict[str, Any], named: str) -> None:
    status, told = play(small, "check_inventory.yml", "-e", json.dumps(setting))
    assert status
    assert named in told


@pytest.mark.parametrize(
    ("playbook", "options", "named"),
    [
        ("drain_host.yml", ("-e", "host=gateway1", "--limit", "gateway2"), "--limit gateway2"),
        ("drain_host.yml", ("-e", "host="), "-e host=NAME"),
        ("add_host.yml", ("-e", "host=gateway1", "--limit", "gateway1"), "--limit gateway1"),
        ("replace_broker.yml", ("-e", "lost=brokers"), "one of broker1, broker2, broker3"),
        ("replace_broker.yml", ("-e", "lost="), "one of broker1, broker2, broker3"),
        ("backup.yml", ("--limit", "databases"), "--limit databases"),
        ("restore.yml", ("--limit", "databases"), "--limit databases"),
        ("rotate_secrets.yml", ("-e", "secrets=vault_database_password"), '-e \'{"secrets"'),
    ],
)
def test_whoever_names_the_wrong_one_is_told(
    inventory: Path, playbook: str, options: tuple[str, ...], named: str
) -> None:
    """Rather than that no host matches, which is no error, or with a traceback."""
    if playbook == "rotate_secrets.yml":
        # Its first task asks the hosts: here they are this machine.
        options = (*options, "-e", "ansible_connection=local")
    status, told = play(inventory, playbook, *options)
    assert status, told
    assert named in told
    assert "Traceback" not in told


def test_a_wrong_option_prints_no_secret(inventory: Path, tmp_path: Path) -> None:
    """Ansible prints the whole specification of a role when one option does not fit."""
    wrong = {}
    for role in WITH_SECRETS:
        for name, option in OPTIONS[role].items():
            # Any text is a string, and a list of one.
            if option["type"] not in ("str", "path", "list") and not option.get("no_log"):
                wrong[role] = name
    # A cached fact stands where a host would have told it.
    fact = {"ansible.builtin.set_fact": {"memtotal_mb": 1024, "cacheable": True}}
    tasks: list[dict[str, Any]] = [fact]
    tasks += [
        {
            "block": [{"ansible.builtin.include_role": {"name": str(ANSIBLE / "roles" / role)}}],
            "rescue": [{"ansible.builtin.debug": {"msg": f"{role} has refused"}}],
        }
        for role in wrong
    ]
    playbook = tmp_path / "roles.yml"
    playbook.write_text(
        yaml.safe_dump([{"hosts": "monitoring", "gather_facts": False, "tasks": tasks}])
    )
    given = {"doorbell_topology": {}, **dict.fromkeys(wrong.values(), "wrong")}
    _, told = play(inventory, playbook, "-e", json.dumps(given))
    assert len(wrong) >= 6
    for role, option in wrong.items():
        assert f"{role} has refused" in told
        assert option in told
    assert SECRET not in told
