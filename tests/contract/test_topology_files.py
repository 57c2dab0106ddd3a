"""The repository's generated files, Celery and the topology agree with each other."""

from __future__ import annotations

from pathlib import Path

from celery.app import base
from kombu.transport import native_delayed_delivery as kombu_delays

from routing.load import load
from routing.render import drifted, generated_files

ROOT = Path(__file__).resolve().parents[2]
TOPOLOGY = load()


def test_the_generated_files_are_current() -> None:
    """What is committed is what the topology renders to."""
    stale = [str(path.relative_to(ROOT)) for path in drifted(generated_files(TOPOLOGY, ROOT))]
    assert stale == [], "run: python -m routing render"


def test_no_secret_is_in_a_generated_file() -> None:
    """Neither a password nor its hash stands in the repository."""
    for text in generated_files(TOPOLOGY, ROOT).values():
        assert "password_hash" not in text
        assert "hashing_algorithm" not in text


def test_the_delays_are_spelled_as_celery_spells_them() -> None:
    """Celery's code fixes the names and the number of levels; a new Celery may change them."""
    delays = TOPOLOGY.delays
    assert delays.levels == kombu_delays.MAX_NUMBER_OF_BITS_TO_USE
    assert delays.entrance == kombu_delays.level_name(kombu_delays.MAX_LEVEL)
    assert delays.exit == kombu_delays.CELERY_DELAYED_DELIVERY_EXCHANGE
    assert f"'{delays.entrance}'" in Path(base.__file__).read_text(encoding="utf-8")
