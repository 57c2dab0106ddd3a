"""Makes the sample logins again: `python -m deploy.local.samples generate --seed 7 --out FILE`."""

from __future__ import annotations

import argparse
from pathlib import Path

from deploy.local.samples import extract, generate
from deploy.local.samples.load import LOGINS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.samples", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("generate", help="synthesize the histories from the extracts")
    making.add_argument("--seed", type=int, default=7)
    making.add_argument("--out", type=Path, default=LOGINS)
    taking = commands.add_parser("extract", help="renew the extracts from the source packages")
    taking.add_argument("--user-agents", type=Path, help="fake-useragent's browsers.jsonl")
    taking.add_argument("--asn", type=Path, help="unpacked npm package @ip-location-db/asn")
    taking.add_argument("--country", type=Path, help="unpacked @ip-location-db/asn-country")
    options = parser.parse_args()
    if options.command == "generate":
        print(f"{generate.write(options.seed, options.out)} logins in {options.out}")
        return
    if (options.asn is None) != (options.country is None):
        parser.error("--asn and --country go together")
    here = Path(__file__).parent
    if options.user_agents:
        rows = extract.user_agents(options.user_agents)
        print(f"{extract.write_user_agents(rows, here / 'user_agents.jsonl')} user agents")
    if options.asn:
        found = extract.networks(options.asn, options.country)
        print(f"{extract.write_networks(found, here / 'networks.csv')} networks")


if __name__ == "__main__":
    main()
