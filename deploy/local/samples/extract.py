"""Takes from the source packages what the generator needs, so that it runs without them."""

from __future__ import annotations

import csv
import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, summarize_address_range
from pathlib import Path

from deploy.local.samples.lines import line_of

ACCESS_NETWORKS = {
    "US": (7922, 7018, 701, 21928), "DE": (3320, 3209, 8881), "FR": (3215, 12322),
    "GB": (2856, 5089, 13285), "JP": (17676, 2516), "IN": (55836, 9498, 24560),
    "BR": (28573, 26599), "CA": (812,), "AU": (1221,), "ES": (3352,), "IT": (3269,),
    "NL": (1136,), "PL": (5617,), "SE": (3301,), "CH": (3303,), "KR": (4766,), "MX": (8151,),
    "TR": (9121,), "NO": (2119,), "GR": (6799,), "AE": (5384,), "PT": (3243,),
}  # fmt: skip
"""Autonomous systems of access providers, by the country their sample users live in."""

HOSTING_NETWORKS = (16276, 24940, 14061, 20473, 63949)
"""Autonomous systems of hosting companies, where synthesized attack logins come from."""

_RANGES_PER_PROVIDER = 6
_RANDOMISED_STRINGS = 100
"""A line of more strings than this, each seen once, comes from a tool that draws versions."""

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class _Range:
    first: Address
    last: Address
    value: str


def user_agents(source: Path) -> Iterator[dict[str, str | float]]:
    """The distinct browsers of fake-useragent's browsers.jsonl; `share` is in percent of all."""
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    distinct = {row["useragent"]: row for row in rows if not row["useragent"].startswith('"')}
    seen = Counter(row["useragent"] for row in rows)
    once = Counter(line_of(agent) for agent, count in seen.items() if count == 1)
    share: Counter[str] = Counter()
    for row in rows:
        share[row["useragent"]] += row["percent"]
    for agent, row in sorted(distinct.items()):
        if once[line_of(agent)] <= _RANDOMISED_STRINGS:
            yield {
                "browser": row["browser"],
                "browser_version": row["browser_version"],
                "os": row["os"],
                "os_version": row["os_version"] or "",
                "type": row["type"],
                "share": round(share[agent], 5),
                "user_agent": agent,
            }


def networks(asn: Path, country: Path) -> Iterator[dict[str, str]]:
    """Networks of the providers above, from the packages asn and asn-country of ip-location-db."""
    for version in ("ipv4", "ipv6"):
        countries = _ranges(country / f"asn-country-{version}.csv")
        by_provider: dict[int, list[_Range]] = defaultdict(list)
        for each in _ranges(asn / f"asn-{version}.csv"):
            by_provider[int(each.value)].append(each)
        for home, providers in ACCESS_NETWORKS.items():
            for provider in providers:
                here = [r for r in by_provider[provider] if _country(r, countries) == home]
                yield from _rows(provider, home, "access", here)
        for provider in HOSTING_NETWORKS:
            for each in _spread(by_provider[provider]):
                if place := _country(each, countries):
                    yield from _rows(provider, place, "hosting", [each])


def _ranges(source: Path) -> list[_Range]:
    with source.open(encoding="utf-8", newline="") as lines:
        return [_Range(ip_address(r[0]), ip_address(r[1]), r[2]) for r in csv.reader(lines)]


def _country(each: _Range, countries: Sequence[_Range]) -> str | None:
    """The country of the whole range, None when it spans several."""
    at = bisect_right(countries, int(each.first), key=lambda r: int(r.first)) - 1
    found = countries[at]
    return found.value if at >= 0 and int(found.last) >= int(each.last) else None


def _spread(ranges: Sequence[_Range]) -> Sequence[_Range]:
    """A few of them, evenly spread over the address space, so that runs agree."""
    step = max(1, len(ranges) // _RANGES_PER_PROVIDER)
    return ranges[::step][:_RANGES_PER_PROVIDER]


def _rows(
    provider: int, country: str, kind: str, ranges: Sequence[_Range]
) -> Iterator[dict[str, str]]:
    for each in _spread(ranges):
        network = max(summarize_address_range(each.first, each.last), key=lambda n: n.num_addresses)
        yield {"network": str(network), "asn": str(provider), "country": country, "kind": kind}


def write_user_agents(rows: Iterator[dict[str, str | float]], out: Path) -> int:
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)


def write_networks(rows: Iterator[dict[str, str]], out: Path) -> int:
    kept = list(rows)
    with out.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, ["network", "asn", "country", "kind"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
    return len(kept)
