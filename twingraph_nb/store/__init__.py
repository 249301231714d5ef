"""What is kept: the event log of every run, the values worth keeping, and how both are read."""

from __future__ import annotations

from twingraph_nb.store.lengths import RunLength
from twingraph_nb.store.look import Look
from twingraph_nb.store.process import identity
from twingraph_nb.store.rows import Freed, Kept, RunRow
from twingraph_nb.store.store import Store

__all__ = ["Freed", "Kept", "Look", "RunLength", "RunRow", "Store", "identity"]
