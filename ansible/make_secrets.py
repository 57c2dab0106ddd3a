"""Makes the secrets and the CA of an inventory, encrypted with ansible-vault; what is there is never overwritten.

Nothing secret is written in the clear but the vault's own password, to a file that only its owner reads.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from routing.load import load
from routing.permissions import permissions

_CA_DAYS = 3650
_VARIABLE = "ANSIBLE_VAULT_PASSWORD_FILE"
_HEADER = "# Made by ansible/make_secrets; change it with ansible-vault edit.\n"


class Problem(Exception):
    """It cannot be done; the message says what to do."""


def _password() -> str:
    # Safe in the URLs of broker and database as it stands.
    return secrets.token_urlsafe(24)


def _broker_passwords() -> dict[str, str]:
    return {user["name"]: _password() for user in permissions(load())["users"]}


_SECRETS: dict[str, Callable[[], Any]] = {
    "vault_broker_passwords": _broker_passwords,
    "vault_broker_administrator_password": _password,
    "vault_erlang_cookie": lambda: secrets.token_hex(24),
    "vault_database_password": _password,
    "vault_replication_password": _password,
    "vault_outlier_api_key": _password,
    "vault_flower_password": _password,
    "vault_flower_viewers_password": _password,
    "vault_haproxy_stats_password": _password,
}


class Inventory:
    """The files of one inventory that hold secrets, and the password that opens them."""

    def __init__(self, directory: Path, password_file: Path) -> None:
        self.vault = directory / "group_vars" / "all" / "vault.yml"
        self.files = directory / "files"
        self.name = directory.name
        self.password_file = password_file

    def has_secrets(self) -> bool:
        """Whether anything is there that was encrypted with the password."""
        return self.vault.exists() or any(self.files.glob("ca*.key"))

    def read(self) -> dict[str, Any]:
        """Return what the vault holds."""
        if not self.vault.exists():
            return {}
        text = self._ansible_vault("view", str(self.vault))
        try:
            content = yaml.safe_load(text) or {}
        except yaml.YAMLError as error:
            # Its message quotes the line, and with it a secret.
            mark = getattr(error, "problem_mark", None)
            place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
            raise Problem(
                f"{self.vault}: is no YAML at {place}: mend it with ansible-vault edit"
            ) from None
        if not isinstance(content, dict):
            raise Problem(
                f"{self.vault}: holds no names with values: mend it with ansible-vault edit"
            )
        for name, make in _SECRETS.items():
            kind = type(make())
            if content.get(name) is not None and not isinstance(content[name], kind):
                wanted = "names with values" if kind is dict else "text in quotes"
                raise Problem(
                    f"{self.vault}: {name} is not {wanted}: mend it with ansible-vault edit"
                )
        return content

    def write(self, content: dict[str, Any]) -> None:
        """Replace the vault."""
        text = _HEADER + yaml.safe_dump(content, sort_keys=False)
        _put(self.vault, self._ansible_vault("encrypt", stdin=text), 0o600)

    def make_ca(self, name: str) -> None:
        """Make a CA unless there is one of that name."""
        key, certificate = self.files / f"{name}.key", self.files / f"{name}.crt"
        if key.exists() and certificate.exists():
            print(f"{certificate} is there already and stays as it is")
            return
        if key.exists() or certificate.exists():
            raise Problem(
                f"{key} and {certificate.name}: one is missing: put it back, or remove both"
            )
        curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        key_text = _run(["openssl", "genpkey", *curve])
        # Two CAs of one inventory, old and new, must not share a name.
        subject = f"/CN=Doorbell {self.name} {secrets.token_hex(4)}"
        request = ("req", "-x509", "-new", "-sha256", "-config", "/dev/null", "-key", "/dev/stdin")
        usage = "keyUsage=critical,keyCertSign,cRLSign"
        extensions = ("-addext", "basicConstraints=critical,CA:TRUE,pathlen:0", "-addext", usage)
        text = _run(
            ["openssl", *request, "-days", str(_CA_DAYS), "-subj", subject, *extensions], key_text
        )
        _put(key, self._ansible_vault("encrypt", stdin=key_text), 0o600)
        _put(certificate, text, 0o644)

    def make_password_file(self) -> None:
        """Make the vault's password unless it is there, or unless it would not open what is there."""
        if self.password_file.exists():
            return
        if self.has_secrets():
            raise Problem(
                f"{self.password_file}: is missing, and what it opens is there: put the vault's password"
                f" there, or name its file with --vault-password-file or {_VARIABLE}"
            )
        _put(self.password_file, secrets.token_urlsafe(32) + "\n", 0o600)

    def _ansible_vault(self, *arguments: str, stdin: str = "") -> str:
        program = Path(sys.executable).with_name("ansible-vault")
        output = ("--output", "-") if arguments == ("encrypt",) else ()
        environment = os.environ | {_VARIABLE: str(self.password_file), "PAGER": "cat"}
        return _run([str(program), *arguments, *output], stdin, environment)


def _run(command: Sequence[str], stdin: str = "", environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode != 0:
        raise Problem(f"{Path(command[0]).name} {command[1]} failed: {done.stderr.strip()}")
    return done.stdout


def _put(path: Path, text: str, mode: int) -> None:
    """Write a file whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(mode)
        Path(name).replace(path)
    except OSError as error:
        raise Problem(f"{path}: cannot be written: {error.strerror}") from error
    print(f"wrote {path}")


def add_missing(content: dict[str, Any]) -> bool:
    """Add the secrets that are not there yet; says whether there were any."""
    before = yaml.safe_dump(content)
    for name, make in _SECRETS.items():
        made = make()
        if isinstance(made, dict):
            content[name] = made | (content.get(name) or {})
        else:
            content.setdefault(name, made)
    return yaml.safe_dump(content) != before


def rotate(content: dict[str, Any], names: Sequence[str]) -> None:
    """Replace the named secrets."""
    for name in names:
        if name not in content:
            raise Problem(f"{name}: is not in the vault yet: call this with --missing first")
        content[name] = _SECRETS[name]()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ansible/make_secrets", description=__doc__)
    parser.add_argument(
        "inventory", type=Path, help="a directory, such as ansible/inventories/staging"
    )
    parser.add_argument(
        "--vault-password-file",
        type=Path,
        help=f"made when missing; default: {_VARIABLE}, else ~/.config/doorbell/vault-ENVIRONMENT",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--missing", action="store_true", help="add what a newer version wants")
    what.add_argument(
        "--rotate", nargs="+", choices=sorted(_SECRETS), metavar="NAME", help=", ".join(_SECRETS)
    )
    what.add_argument(
        "--new-ca", action="store_true", help="a CA for rotate_certificates.yml to go over to"
    )
    return parser


def _inventory(options: argparse.Namespace) -> Inventory:
    directory = options.inventory.resolve()
    if not directory.is_dir():
        raise Problem(f"{options.inventory}: is no directory: name an inventory's")
    if not (directory / "hosts.yml").is_file():
        raise Problem(f"{options.inventory}: has no hosts.yml: name an inventory's own directory")
    default = Path.home() / ".config" / "doorbell" / f"vault-{directory.name}"
    named = options.vault_password_file or os.environ.get(_VARIABLE) or default
    return Inventory(directory, Path(named).expanduser().resolve())


def _make(options: argparse.Namespace) -> None:
    inventory = _inventory(options)
    is_first = not (options.missing or options.rotate or options.new_ca)
    if is_first and inventory.has_secrets():
        raise Problem(f"{inventory.vault}: is there already and stays as it is; add with --missing")
    if not is_first and not inventory.has_secrets():
        raise Problem(f"{options.inventory}: has no secrets yet: call this without options first")
    inventory.make_password_file()
    if options.new_ca:
        inventory.make_ca("ca-next")
        return
    content = inventory.read()
    if options.rotate:
        rotate(content, options.rotate)
        inventory.write(content)
        return
    if add_missing(content):
        inventory.write(content)
    inventory.make_ca("ca")
    print(f"export {_VARIABLE}={inventory.password_file}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0, or 1 with the reason on stderr."""
    try:
        _make(_parser().parse_args(arguments))
    except Problem as problem:
        print(f"make_secrets: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
