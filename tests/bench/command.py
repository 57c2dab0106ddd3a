"""What the benchmarks' commands share: arguments, what they say meanwhile, and how they are interrupted."""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType


def positive(text: str) -> int:
    """An argument that is a number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def numbers(text: str) -> list[int]:
    """An argument that is numbers with commas between them."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers") from None


def say(text: str) -> None:
    """Tell whoever waits, beside the results."""
    print(text, file=sys.stderr, flush=True)


def end_on_sigterm() -> None:
    """Let SIGTERM end what was started, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
