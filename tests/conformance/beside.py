"""A module of the user's own: it is installed nowhere, and must be taken along."""

from __future__ import annotations

FACTOR = 7


def scaled(x: int) -> int:
    return x * FACTOR
