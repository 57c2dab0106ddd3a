"""A text with places for ids, found by comparing two that differ in ids alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Differs(ValueError):
    """Two texts differ in more than ids, or use an id in different places; it says which."""


class Ids:
    """Numbers of the ids that texts have places for: first the known ones, then those that are new each time."""

    def __init__(self, known: Iterable[tuple[str, str]]) -> None:
        """known: what stands in one text and in the other for each id that is given to `IdTemplate.fill`."""
        self._numbers = {pair: number for number, pair in enumerate(known)}
        self._known = len(self._numbers)

    @property
    def fresh(self) -> int:
        """How many new ids `IdTemplate.fill` is to be given behind the known ones.

        Raises:
            Differs: an id of one text stands for two of the other.
        """
        if any(len({pair[side] for pair in self._numbers}) < len(self._numbers) for side in (0, 1)):
            raise Differs("use an id in different places")
        return len(self._numbers) - self._known

    def place(self, one: str, other: str) -> int | str:
        """The number of an id; or itself, where it is in both texts and none of the known ones."""
        if one == other and (one, other) not in self._numbers:
            return one
        return self._numbers.setdefault((one, other), len(self._numbers))


@dataclass(frozen=True, slots=True)
class IdTemplate:
    """What stands between the ids, and of each its number, or the one that is always there."""

    pieces: list[str]
    places: list[int | str]

    @classmethod
    def of(cls, one: str, other: str, ids: Ids) -> Self:
        """Raises Differs."""
        pieces = ID.split(one)
        if ID.split(other) != pieces:
            raise Differs("differ in more than ids")
        pairs = zip(ID.findall(one), ID.findall(other), strict=True)
        return cls(pieces, [ids.place(*pair) for pair in pairs])

    def fill(self, ids: Sequence[str]) -> str:
        """The text with these ids, by their numbers."""
        parts = [self.pieces[0]]
        for place, piece in zip(self.places, self.pieces[1:], strict=True):
            parts += (place if isinstance(place, str) else ids[place], piece)
        return "".join(parts)
