"""How a member of a group ended. Travels with the values it holds: standard library only."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Settled"]


class Settled(NamedTuple):
    """How one call of a group ended.

    name: the component's. state: succeeded (also if an equal call was done before), failed,
    skipped or cancelled. value: what it gave, None if it did not succeed. error: what it raised,
    as text, else "".
    """

    name: str
    state: str
    value: Any = None
    error: str = ""

    @property
    def ok(self) -> bool:
        """True when it has a value."""
        return self.state == "succeeded"
