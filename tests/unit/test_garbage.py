"""What the garbage collector is spared, seen in a process of its own."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import gc, weakref
from services.garbage import settle_down

class Ring:
    def __init__(self): self.me = self

settle_down()
later = weakref.ref(Ring())
frozen = gc.get_freeze_count()
gc.collect()
print(frozen > 1000, later() is None)
"""


def test_only_what_comes_later_is_collected() -> None:
    """What is there at the start is left in peace; rings that are made afterwards still go."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True"]
