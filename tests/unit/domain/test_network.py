"""When a network is evidence of anything."""

from __future__ import annotations

import pytest

from services.domain.network import Network, is_usual


@pytest.mark.parametrize(
    ("network", "known", "usual"),
    [
        (Network("DE", 1), [], True),
        (Network(), [Network("DE", 1)], True),
        (Network("DE", 2), [Network("DE", 1)], True),
        (Network("US", 1), [Network("DE", 1)], True),
        (Network("US", 2), [Network("DE", 1)], False),
        (Network("US"), [Network("DE")], False),
        (Network("", 2), [Network("DE")], False),
        (Network("US", 2), [Network("", 2)], True),
    ],
)
def test_one_of_country_and_provider_is_enough(
    network: Network, known: list[Network], usual: bool
) -> None:
    """And what is not known is not alike."""
    assert is_usual(network, known) is usual
