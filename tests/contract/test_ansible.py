"""ansible/ agrees with the topology, with its own README, and with what may stand in the open."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from routing.load import load
from routing.permissions import permissions

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE = ROOT / "ansible"
README = (ANSIBLE / "README.md").read_text()
ROLES = sorted(path.name for path in (ANSIBLE / "roles").iterdir() if path.is_dir())
ENVIRONMENTS = sorted(path.name for path in (ANSIBLE / "inventories").iterdir())
PLAYBOOKS = sorted(ANSIBLE.glob("*.yml"))
TOPOLOGY = load()
SITE = [
    "base",
    "certificates",
    "firewall",
    "rabbitmq",
    "postgresql",
    "haproxy",
    "doorbell",
    "monitoring",
]
PROMISED = {
    *(
        "site",
        "deploy",
        "rollback",
        "add_host",
        "drain_host",
        "rotate_secrets",
        "rotate_certificates",
    ),
    *("backup", "restore", "promote_standby", "upgrade_rabbitmq"),
}
FILES = [
    path
    for pattern in ("*.yml", "*.j2", "*.cfg")
    for path in sorted(ANSIBLE.rglob(pattern))
    if path.name != "vault.yml" and ".ansible" not in path.parts
]


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def tasks_of(entries: Any) -> Iterator[dict[str, Any]]:
    """Every task of a file of tasks or of plays, those in blocks too."""
    for entry in entries or []:
        yield entry
        for inner in ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always"):
            yield from tasks_of(entry.get(inner) if isinstance(entry, dict) else [])


def task_files() -> list[Path]:
    roles = ANSIBLE / "roles"
    return [
        *PLAYBOOKS,
        *sorted(roles.glob("*/tasks/*.yml")),
        *sorted(roles.glob("*/handlers/*.yml")),
    ]


@pytest.mark.parametrize("role", ROLES)
def test_what_a_role_takes_is_what_it_says(role: str) -> None:
    """Each default is in the argument specification with the same value, named after its role."""
    defaults = read(ANSIBLE / "roles" / role / "defaults" / "main.yml") or {}
    specification = read(ANSIBLE / "roles" / role / "meta" / "argument_specs.yml")
    options = specification["argument_specs"]["main"]["options"]

    # A failed validation prints the specification, with what stands in it filled in.
    secret = {name for name, value in defaults.items() if "vault_" in str(value)}
    assert [
        name for name in secret if "default" in options[name] or not options[name].get("no_log")
    ] == []
    told = {name: option.get("default") for name, option in options.items()}
    assert told | {name: defaults[name] for name in secret} == defaults
    assert [name for name in options if not name.startswith(f"{role}_")] == []
    assert [name for name, option in options.items() if not option.get("description")] == []


def test_site_runs_all_roles_in_their_order() -> None:
    """What others need comes before them: the broker's way before the processes that take it."""
    plays = read(ANSIBLE / "site.yml")
    named = [entry["role"] for play in plays for entry in play.get("roles", [])]

    assert [role for role in named if role in SITE] == SITE
    assert set(ROLES) == set(named)


def test_the_promised_playbooks_are_there() -> None:
    """The names that operators and runbooks know."""
    assert {path.stem for path in PLAYBOOKS} >= PROMISED


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_inventory_has_every_pool_and_no_other(environment: str) -> None:
    """A group for each pool of the topology, all of them under `pools`."""
    children = read(ANSIBLE / "inventories" / environment / "hosts.yml")["all"]["children"]
    pools = children["pools"]["children"]

    assert set(pools) == {f"pool_{name}" for name in TOPOLOGY.pools}
    assert len(children["brokers"]["hosts"]) == 3
    assert len(children["databases"]["hosts"]) == len(children["gateways"]["hosts"]) == 2
    assert not set(children["backups"]["hosts"]) & set(children["databases"]["hosts"])


def test_the_firewall_is_the_readmes_table() -> None:
    """Each line between groups is a rule, and there is no rule without a line."""
    cells = re.findall(
        r"^\| (\d[\d, to]*) \| ([\w, ]+?)(?: \([^|]*)? \| (.+?) \|$", README, re.MULTILINE
    )
    lines = {
        (
            frozenset(re.split(", ", ports.replace(" to ", "-"))),
            frozenset(to.split(", ")),
            sources_of(told),
        )
        for ports, to, told in cells
        if to != "all" and told != "the world"
    }
    rules = read(ANSIBLE / "roles" / "firewall" / "vars" / "main.yml")["_firewall_ports"]

    assert len(lines) > 8
    assert {
        (frozenset(r["ports"]), frozenset(r["to"]), frozenset(r["from"])) for r in rules
    } == lines


def sources_of(told: str) -> frozenset[str]:
    """The groups of a cell: its words up to a colon or a bracket, without the marks of code."""
    groups = re.split(r"[:(]", told.replace("`", ""))[0]
    return frozenset(part.strip() for part in groups.split(","))


@pytest.mark.parametrize("path", task_files(), ids=lambda path: str(path.relative_to(ANSIBLE)))
def test_only_modules_of_ansible_core_are_used(path: Path) -> None:
    """Nothing has to be fetched but one locked package list."""
    modules = {
        key
        for task in tasks_of(read(path))
        for key in task
        if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", str(key))
    }

    assert {module for module in modules if not module.startswith("ansible.builtin.")} == set()


def test_rabbitmqs_commands_are_called_again() -> None:
    """Each starts a node of its own, whose way into the broker's may fail for once on a busy host."""
    once = [
        f"{path.relative_to(ANSIBLE)}: {task['name']}"
        for path in task_files()
        for task in tasks_of(read(path))
        if re.match(r"\['?rabbitmq(ctl|-)", str(argv_of(task))) and "until" not in task
    ]

    assert once == []


def test_a_ca_is_replaced_or_can_be_again(tmp_path: Path) -> None:
    """Broken off between any two of its commands, the task leaves a whole CA to come, or a whole CA."""
    (task,) = (
        task
        for play in read(ANSIBLE / "rotate_certificates.yml")
        for task in tasks_of([play])
        if task["name"] == "Put the new one in its place"
    )
    commands = str(argv_of(task)[-1]).split("; ")
    assert len(commands) > 2
    for done in range(len(commands)):
        files = tmp_path / str(done)
        files.mkdir()
        for name in ("ca.key", "ca.crt", "ca-next.key", "ca-next.crt"):
            (files / name).write_text(name.partition(".")[0])
        subprocess.run(["sh", "-euc", "; ".join(commands[:done]) or ":"], cwd=files, check=True)
        if (files / "ca-next.crt").exists():
            assert (files / "ca-next.key").exists()
            subprocess.run(["sh", "-euc", "; ".join(commands)], cwd=files, check=True)
        for name in ("ca.key", "ca.crt"):
            assert (files / name).read_text() == "ca-next"


def argv_of(task: dict[str, Any]) -> Any:
    command = task.get("ansible.builtin.command")
    return command.get("argv") if isinstance(command, dict) else None


def test_nothing_secret_stands_in_the_open() -> None:
    """What is called a password is an expression: its value comes from the vault, which is encrypted."""
    secret = re.compile(r"(^|_)(password|passwords|cookie|api_key)$")
    plain = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in FILES
        if path.suffix == ".yml" and path.name != "argument_specs.yml"
        for name, value in values_of(read(path))
        if secret.search(name) and isinstance(value, str) and not value.startswith(("/", "{{"))
    ]

    assert plain == []
    for file in (*ANSIBLE.rglob("vault.yml"), *ANSIBLE.rglob("ca*.key")):
        assert file.read_text().startswith("$ANSIBLE_VAULT;")


def values_of(content: Any) -> Iterator[tuple[str, Any]]:
    """Every name with its value, however deep."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield str(name), value
            yield from values_of(value)
    elif isinstance(content, list):
        for entry in content:
            yield from values_of(entry)


def test_tasks_with_secrets_print_nothing() -> None:
    """A task that is handed a password, the cookie or the CA's key says so with no_log."""
    secret = re.compile(
        r"\w_passwords?\b(?!\.)|_cookie \}\}|\.key'\)|vault\.yml|outlier_api_key \}\}"
    )
    loud = [
        f"{path.relative_to(ANSIBLE)}: {task['name']}"
        for path in task_files()
        for task in tasks_of(read(path))
        if any(str(key).startswith("ansible.builtin.") for key in task)
        and not any(word in key for key in task for word in ("assert", "include_role", "_tasks"))
        and secret.search(
            yaml.safe_dump({key: task[key] for key in task if key not in ("when", "name")})
        )
        and not task.get("no_log")
    ]

    assert loud == []


def test_the_environment_of_ansible_is_locked_for_its_python() -> None:
    """requirements-ansible.txt holds what requirements-ansible.in wants, with hashes and no registry."""
    wanted = re.findall(r"^([a-z-]+)", (ROOT / "requirements-ansible.in").read_text(), re.MULTILINE)
    locked = (ROOT / "requirements-ansible.txt").read_text()
    entries = re.split(r"^(?=[A-Za-z0-9])", locked, flags=re.MULTILINE)[1:]

    assert {entry.split("==")[0] for entry in entries} >= set(wanted)
    assert "://" not in locked
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.fixture(scope="module")
def vault() -> None:
    """Ansible's programs; skipped where .venv-ansible is missing."""
    if not (ROOT / ".venv-ansible/bin/ansible-vault").exists():
        if os.environ.get("CI"):
            pytest.fail("there is no .venv-ansible: deploy/local/setup --ansible")
        pytest.skip("there is no .venv-ansible: deploy/local/setup --ansible")


@pytest.fixture(scope="module")
def inventory(vault: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as ansible/make_secrets leaves it."""
    directory = tmp_path_factory.mktemp("inventories") / "test"
    directory.mkdir()
    (directory / "hosts.yml").touch()
    make_secrets(directory).check_returncode()
    return directory


def make_secrets(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ANSIBLE / "make_secrets", directory, *options],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"ANSIBLE_VAULT_PASSWORD_FILE": str(directory.parent / "password")},
    )


def test_secrets_are_made_for_inventories_alone(vault: None, tmp_path: Path) -> None:
    """Not for the directory that they lie in, or a new one with a typing error."""
    refused = make_secrets(tmp_path)
    assert refused.returncode != 0
    assert "has no hosts.yml" in refused.stderr
    assert list(tmp_path.iterdir()) == []


def opened(directory: Path) -> dict[str, Any]:
    """What the vault of an inventory holds."""
    shown = subprocess.run(
        [ROOT / ".venv-ansible/bin/ansible-vault", "view", directory / "group_vars/all/vault.yml"],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ
        | {"ANSIBLE_VAULT_PASSWORD_FILE": str(directory.parent / "password"), "PAGER": "cat"},
    )
    content: dict[str, Any] = yaml.safe_load(shown.stdout)
    return content


def test_one_command_makes_every_secret(inventory: Path) -> None:
    """What the README names and the topology's users need; a second call changes nothing."""
    content = opened(inventory)
    named = set(re.findall(r"`(vault_[a-z_]+)`", README))
    files = {file: file.read_bytes() for file in inventory.rglob("*") if file.is_file()}

    again = make_secrets(inventory)

    assert set(content) == named
    assert set(content["vault_broker_passwords"]) == {
        u["name"] for u in permissions(TOPOLOGY)["users"]
    }
    assert again.returncode == 1
    assert "stays as it is" in again.stderr
    assert {file: file.read_bytes() for file in files} == files


def test_what_it_makes_is_encrypted_and_the_owners(inventory: Path) -> None:
    """Vault and CA's key are no use without the password, which only the owner reads."""
    for file in (inventory / "group_vars/all/vault.yml", inventory / "files/ca.key"):
        assert file.read_text().startswith("$ANSIBLE_VAULT;1.1;AES256")
    for file in (inventory / "group_vars/all/vault.yml", inventory.parent / "password"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_missing_secrets_are_added_and_named_ones_replaced(inventory: Path) -> None:
    """`--missing` leaves what is there, `--rotate` changes what it was told and nothing else."""
    before = opened(inventory)

    make_secrets(inventory, "--missing").check_returncode()
    assert opened(inventory) == before
    make_secrets(inventory, "--rotate", "vault_database_password").check_returncode()
    after = opened(inventory)

    assert {name for name in before if before[name] != after[name]} == {"vault_database_password"}


def test_a_wrong_vault_password_is_said(inventory: Path) -> None:
    """No second password is made beside the one that opens what is there."""
    elsewhere = inventory.parent / "elsewhere"

    refused = make_secrets(inventory, "--missing", "--vault-password-file", str(elsewhere))

    assert refused.returncode == 1
    assert str(elsewhere) in refused.stderr
    assert not elsewhere.exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('vault_erlang_cookie: "hunter2\nvault_other: hunter2\n', "line 3, column 1"),
        ("vault_broker_passwords: hunter2\n", "vault_broker_passwords is not names with values"),
        ("vault_database_password: [hunter2]\n", "vault_database_password is not text in quotes"),
    ],
)
def test_a_damaged_vault_is_told_without_what_is_in_it(
    inventory: Path, tmp_path: Path, text: str, told: str
) -> None:
    directory = tmp_path / "damaged"
    (directory / "group_vars" / "all").mkdir(parents=True)
    (directory / "hosts.yml").touch()
    vault = directory / "group_vars" / "all" / "vault.yml"
    vault.write_text(text)
    password = inventory.parent / "password"
    subprocess.run(
        [ROOT / ".venv-ansible/bin/ansible-vault", "encrypt", vault],
        check=True,
        env=os.environ | {"ANSIBLE_VAULT_PASSWORD_FILE": str(password)},
        capture_output=True,
    )
    refused = make_secrets(directory, "--missing", "--vault-password-file", str(password))
    assert refused.returncode == 1
    assert told in refused.stderr
    assert "hunter2" not in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_controller_can_render_definitions() -> None:
    """Role rabbitmq calls `python -m routing` with Ansible's own Python."""
    python = ROOT / ".venv-ansible/bin/python"
    if not python.exists():
        pytest.skip("there is no .venv-ansible: deploy/local/setup --ansible")
    subprocess.run([python, "-m", "routing", "check"], cwd=ROOT, check=True)
    assert sys.version_info >= (3, 11)
