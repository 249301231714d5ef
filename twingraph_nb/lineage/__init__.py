"""The graph of everything that ran, and the Gremlin engine that answers questions to it."""

from __future__ import annotations

__all__: list[str] = []
