"""Zones, addresses and hosts of the fleet, and the cuts between them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

ZONES: Mapping[str, IPv4Network] = {
    zone: IPv4Network(f"10.213.{number}.0/24")
    for number, zone in enumerate(("outside", "edge", "brokers", "data", "pools", "monitoring"))
}
"""Each is a network of its own; the first address of each routes to the others."""

OUTSIDE = ZONES["outside"][1]
"""Where the test stands: the controller, the application, and everything that Doorbell calls."""

_TABLE = "cuts"
# Whatever a host sends enters by a port of its zone's bridge, wherever it is for.
_RULES = f"""
table bridge {_TABLE} {{
    set pairs {{ type ipv4_addr . ipv4_addr; flags interval; }}
    set silent {{ type ipv4_addr; }}
    chain ways {{
        type filter hook prerouting priority 0;
        ip saddr . ip daddr @pairs drop
        ip saddr @silent drop
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Host:
    """A host of the fleet. Without groups it is a spare, which the inventory does not have yet."""

    name: str
    zone: str
    number: int
    groups: tuple[str, ...] = ()

    @property
    def address(self) -> IPv4Address:
        return ZONES[self.zone][self.number]


_CHECKS = ("pool_device_checks", "pool_db_writes", "pool_imports", "pool_maintenance", "schedulers")
_CALLS = ("pool_notifications", "pool_external_api")

HOSTS: Mapping[str, Host] = {
    host.name: host
    for host in (
        *(Host(f"broker{n}", "brokers", 10 + n, ("brokers",)) for n in (1, 2, 3)),
        *(Host(f"database{n}", "data", 10 + n, ("databases",)) for n in (1, 2)),
        *(Host(f"gateway{n}", "edge", 10 + n, ("gateways",)) for n in (1, 2)),
        *(Host(f"checks{n}", "pools", 10 + n, _CHECKS) for n in (1, 2)),
        *(Host(f"calls{n}", "pools", 20 + n, _CALLS) for n in (1, 2)),
        Host("monitoring1", "monitoring", 11, ("monitoring", "outlier_apis", "backups")),
        Host("calls3", "pools", 23),
        Host("database3", "data", 13),
    )
}
"""Every pool is on two hosts, so that either may be lost."""


class Cuts:
    """Which packets are lost on the way: none until `cut` or `silence` is called."""

    def lay(self) -> None:
        """Take every cut back; to be called once before the others."""
        _nft(f"add table bridge {_TABLE}; delete table bridge {_TABLE}; {_RULES}")

    def cut(self, ones: Iterable[str], others: Iterable[str]) -> None:
        """From now on no packet passes between the ones and the others: names of hosts or zones."""
        self._change("add", ones, others)

    def heal(self, ones: Iterable[str], others: Iterable[str]) -> None:
        """Take back what `cut` with the same names did."""
        self._change("delete", ones, others)

    def silence(self, host: str) -> None:
        """Nothing that a host sends arrives: not even the farewells of a machine that loses its power."""
        _nft(f"add element bridge {_TABLE} silent {{ {HOSTS[host].address} }}")

    def hear(self, host: str) -> None:
        """Take `silence` back, if there was one."""
        silent = f"element bridge {_TABLE} silent {{ {HOSTS[host].address} }}"
        _nft(f"add {silent}; delete {silent}")

    def _change(self, how: str, ones: Iterable[str], others: Iterable[str]) -> None:
        there = [_where(name) for name in others]
        pairs = [(_where(one), other) for one in ones for other in there]
        both = [f"{a} . {b}" for a, b in [*pairs, *((b, a) for a, b in pairs)]]
        _nft(f"{how} element bridge {_TABLE} pairs {{ {', '.join(both)} }}")


def _where(name: str) -> str:
    if name in HOSTS:
        return str(HOSTS[name].address)
    return str(ZONES[name])


def _nft(commands: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=commands, text=True, check=True)


def main() -> None:
    """Print the hosts' names and addresses as /etc/hosts has them."""
    print("127.0.0.1 localhost")
    for host in HOSTS.values():
        print(host.address, host.name)


if __name__ == "__main__":
    main()
