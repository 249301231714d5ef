"""Random numbers as Java draws them, so that a seed means the same here and on a server."""

from __future__ import annotations

import secrets
from typing import Any

__all__ = ["Chance"]

_MASK = (1 << 48) - 1


class Chance:
    """The linear congruential generator that the documentation of `java.util.Random` defines."""

    def __init__(self, seed: int | None = None) -> None:
        if seed is None:
            seed = secrets.randbits(48)
        self._state = (seed ^ 0x5DEECE66D) & _MASK

    def _bits(self, number: int) -> int:
        self._state = (self._state * 0x5DEECE66D + 0xB) & _MASK
        return self._state >> (48 - number)

    def random(self) -> float:
        """A number in [0, 1)."""
        return float(((self._bits(26) << 27) + self._bits(27)) * 2.0**-53)

    def below(self, bound: int) -> int:
        """A whole number in [0, bound)."""
        if bound & -bound == bound:
            return (bound * self._bits(31)) >> 31
        while True:
            bits = self._bits(31)
            found = bits % bound
            if bits - found + bound - 1 < 1 << 31:
                return found

    def shuffle(self, items: list[Any]) -> None:
        """Mix the items in place."""
        for size in range(len(items), 1, -1):
            other = self.below(size)
            items[size - 1], items[other] = items[other], items[size - 1]
