"""`python -m routing`: render what follows from the topology, check it, verify a live broker."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from routing.load import DEFAULT_FILE, load
from routing.management import ManagementApi, TlsFiles
from routing.render import drifted, generated_files, write_complete_definitions, write_files
from routing.topology import Topology
from routing.verify import differences
from services.domain.errors import ConfigurationError, DoorbellError

_AGREES, _DIFFERS, _CANNOT = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns 0 (as it should be), 1 (differences) or 2 (could not be done)."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(load(options.topology), options)
    except DoorbellError as error:
        print(error, file=sys.stderr)
        return _CANNOT
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m routing", description=__doc__)
    parser.add_argument(
        "--topology", type=Path, default=DEFAULT_FILE, help="the topology file (default: ours)"
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=DEFAULT_FILE.parents[1],
        help="the repository with the generated files (default: this one)",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    render = commands.add_parser("render", help="write the generated files")
    render.add_argument(
        "--secrets", type=Path, metavar="DIR", help="one file for each user, with its password"
    )
    render.add_argument(
        "--out", type=Path, metavar="FILE", help="write definitions with users there instead"
    )
    render.set_defaults(run=_render)
    check = commands.add_parser("check", help="fail when a generated file is not current")
    check.set_defaults(run=_check)
    verify = commands.add_parser("verify", help="compare a live broker with the topology")
    verify.add_argument("--management-url", required=True, metavar="URL")
    verify.add_argument("--user", required=True)
    verify.add_argument("--password-file", required=True, type=Path, metavar="FILE")
    for name, what in (
        ("ca", "the CA that the broker's certificate is from, for https"),
        ("certificate", "our certificate, if the broker wants one"),
        ("key", "and its key"),
    ):
        verify.add_argument(f"--{name}-file", type=Path, metavar="FILE", help=what)
    verify.add_argument(
        "--without-users",
        action="store_true",
        help="leave out users and permissions, which only an administrator may read",
    )
    verify.set_defaults(run=_verify)
    return parser


def _render(topology: Topology, options: argparse.Namespace) -> int:
    if (options.secrets is None) != (options.out is None):
        raise ConfigurationError("--secrets and --out go together: give both or neither")
    if options.out is not None:
        write_complete_definitions(topology, options.secrets, options.out)
        return _AGREES
    for path in write_files(generated_files(topology, options.root)):
        print(f"wrote {path}")
    return _AGREES


def _check(topology: Topology, options: argparse.Namespace) -> int:
    stale = drifted(generated_files(topology, options.root))
    for path in stale:
        print(f"{path} is not what the topology says: run python -m routing render")
    return _DIFFERS if stale else _AGREES


def _verify(topology: Topology, options: argparse.Namespace) -> int:
    try:
        password = options.password_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{options.password_file}: cannot be read: {error}") from error
    tls = TlsFiles(options.ca_file, options.certificate_file, options.key_file)
    api = ManagementApi(options.management_url, options.user, password, tls)
    found = differences(topology, api, users=not options.without_users)
    for difference in found:
        print(difference)
    if not found:
        print("the broker agrees with the topology")
    return _DIFFERS if found else _AGREES


if __name__ == "__main__":
    sys.exit(main())
