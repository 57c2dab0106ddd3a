"""Where in the network a login came from, as weak evidence: never the address itself."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

LARGEST_ASN = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Network:
    """What is known of an address.

    country: two letters (ISO 3166-1), of where the network is registered; empty: unknown.
    asn: the number of the provider's autonomous system (RFC 1930); 0: unknown.
    provider: its name, to be shown; two networks are told apart by the rest.
    """

    country: str = ""
    asn: int = 0
    provider: str = field(default="", compare=False)


def is_usual(network: Network, known: Collection[Network]) -> bool:
    """Whether a user has been in the country or at the provider before.

    Nothing known, of this login or of the user, is no evidence of anything.
    """
    return (
        not known
        or network == Network()
        or any(
            network.country == other.country != "" or network.asn == other.asn != 0
            for other in known
        )
    )
