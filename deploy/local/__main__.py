"""The local cluster's commands: `python -m deploy.local up | down | status | demo | remove | rabbitmqctl | psql`."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from deploy.local import cluster, replay, status, tools
from deploy.local.choices import NONE, Choices
from deploy.local.layout import REPOSITORY, Layout
from deploy.local.process import ClusterError
from routing.load import load
from services.domain.errors import DoorbellError

_DEFAULT_ROOT = REPOSITORY / ".local"
_NUMBER = re.compile(r"[0-9]{1,2}")
_URL = re.compile(r"https?://[^\s\"'<>\\]+")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns 0, or 1 with the reason on standard error."""
    options = _parser().parse_args(arguments)
    layout = Layout(options.root.resolve())
    try:
        code: int = options.run(layout, options)
    except (ClusterError, DoorbellError) as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our output has enough; Python must not complain again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was started keeps running: see `make status`", file=sys.stderr)
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    parser.add_argument(
        "--root",
        type=Path,
        default=_DEFAULT_ROOT,
        metavar="DIR",
        help="the cluster's directory (default: .local); another one gets ports that nobody expects",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, text in (
        ("up", _up, "start what does not run, and wait until all is well"),
        ("demo", _demo, "up, then replay the sample logins and say what happened"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument(
            "--processes",
            type=parse_counts,
            default=os.environ.get("PROCESSES", ""),
            metavar="POOL=NUMBER,...",
            help=f"processes of a pool (default: PROCESSES, else as before, at first one; {NONE}: one of each)",
        )
        command.add_argument(
            "--alert-receivers",
            type=_absolute,
            default=os.environ.get("ALERT_RECEIVERS", ""),
            metavar="FILE",
            help=f"who is told of alerts (default: ALERT_RECEIVERS, else as before; {NONE}: nobody)",
        )
        for what in ("dashboards", "runbooks"):
            command.add_argument(
                f"--{what}-url",
                type=parse_url,
                default=os.environ.get(f"{what.upper()}_URL", ""),
                metavar="URL",
                help=f"where links to {what} lead (default: {what.upper()}_URL, else as before; {NONE}: nowhere)",
            )
        command.set_defaults(run=run)
    commands.add_parser("down", help="stop everything, keep the data").set_defaults(run=_down)
    commands.add_parser("status", help="say how each process is").set_defaults(run=_status)
    commands.add_parser("remove", help="stop everything and delete it with its data").set_defaults(
        run=_remove
    )
    for name, tool in (("rabbitmqctl", tools.rabbitmqctl), ("psql", tools.psql)):
        command = commands.add_parser(
            name,
            help=f"{name} for this cluster, with what follows",
            add_help=False,
            prefix_chars="\0",
        )
        command.add_argument("arguments", nargs=argparse.REMAINDER)
        command.set_defaults(run=partial(_become, tool))
    return parser


def _become(
    tool: Callable[[Layout, Sequence[str]], NoReturn], layout: Layout, options: argparse.Namespace
) -> int:
    tool(layout, options.arguments)


def _absolute(text: str) -> str:
    # A variable of the Makefile that nobody has set is an empty text.
    return str(Path(text).resolve()) if text not in ("", NONE) else text


def parse_url(text: str) -> str:
    """Read the address of a page, or none.

    Raises:
        ArgumentTypeError: it is no address that a link can begin with.
    """
    if text in ("", NONE) or _URL.fullmatch(text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not like https://grafana.example.org, or {NONE}")


def _up(layout: Layout, options: argparse.Namespace) -> int:
    _bring_up(layout, options)
    print(f"everything is up; addresses and credentials: {layout.endpoints}")
    return 0


def _demo(layout: Layout, options: argparse.Namespace) -> int:
    _bring_up(layout, options)
    return replay.run(layout)


def _bring_up(layout: Layout, options: argparse.Namespace) -> None:
    cluster.up(
        layout,
        Choices(
            options.processes,
            options.alert_receivers,
            options.dashboards_url,
            options.runbooks_url,
        ),
        print,
        usual_ports=layout.root == _DEFAULT_ROOT,
    )


def _down(layout: Layout, options: argparse.Namespace) -> int:
    print("stopped; the data stays" if cluster.down(layout) else "nothing runs")
    return 0


def _remove(layout: Layout, options: argparse.Namespace) -> int:
    if layout.root.exists() and not layout.ports.exists():
        raise ClusterError(f"{layout.root} is not a cluster's directory: nothing was deleted")
    cluster.remove(layout)
    print(f"deleted {layout.root}")
    return 0


def _status(layout: Layout, options: argparse.Namespace) -> int:
    return status.show(layout)


def parse_counts(text: str) -> dict[str, int]:
    """Read numbers of processes such as "device_checks=2, db_writes=4", or none: one of each pool.

    Raises:
        ArgumentTypeError: a part is not a name, an equals sign and a number from 1 to 32.
    """
    if text == NONE:
        return dict.fromkeys(load().pools, 1)
    counts = {}
    for part in text.replace(",", " ").split():
        pool, _, number = part.partition("=")
        if not pool or not _NUMBER.fullmatch(number) or not 1 <= int(number) <= 32:
            raise argparse.ArgumentTypeError(f"{part!r} is not like device_checks=2 (1 to 32)")
        counts[pool] = int(number)
    return counts


if __name__ == "__main__":
    sys.exit(main())
