"""`python -m deploy.grafana` writes the dashboards; with --check it only says which are not as it would write them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.broker import broker
from deploy.grafana.ledger import ledger
from deploy.grafana.overview import overview
from deploy.grafana.pool import pool
from routing.load import load
from routing.topology import Topology

DIRECTORY = Path(__file__).parent / "dashboards"


def dashboards(topology: Topology) -> Mapping[str, str]:
    """The text of each dashboard's file, by its name."""
    encoder = JSONEncoder(sort_keys=True, indent=2)
    built = {
        "overview": overview(),
        "pool": pool(topology),
        "broker": broker(),
        "ledger": ledger(),
    }
    return {f"{name}.json": f"{encoder.encode(board.build())}\n" for name, board in built.items()}


def main() -> int:
    """Returns 1 when --check finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m deploy.grafana", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check: bool = parser.parse_args().check
    differing = 0
    for name, text in dashboards(load()).items():
        path = DIRECTORY / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        differing = 1
        if check:
            print(f"{path}: is not as written by `python -m deploy.grafana`", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
            print(path)
    return differing if check else 0


if __name__ == "__main__":
    sys.exit(main())
