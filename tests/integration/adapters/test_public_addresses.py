"""Which addresses count as the internet."""

from __future__ import annotations

import pytest

from services.adapters.public_addresses import checked_addresses, is_public
from services.domain.errors import Refused


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    """Ordinary targets are let through."""
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
        *("0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1%eth0"),
        *("fc00::1", "ff02::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::"),
    ],
)
def test_addresses_inside_are_not(address: str) -> None:
    """Private, local and special ones are not, nor those that wrap one."""
    assert not is_public(address)


@pytest.mark.parametrize("host", ["127.1", "0x7f000001", "2130706433", "LOCALHOST"])
def test_odd_spellings_lead_to_the_same_answer(host: str) -> None:
    """What is checked is the address, not how it is written."""
    with pytest.raises(Refused):
        checked_addresses(host, 443, ())


def test_a_host_may_be_allowed_by_name() -> None:
    """An operator may let a private target through, and gets its addresses."""
    assert "127.0.0.1" in checked_addresses("LocalHost", 443, ("localhost",))
