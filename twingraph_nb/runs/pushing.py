"""The commands `twingraph lineage push` and `backfill`: the graph to a database elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing

from twingraph_nb.errors import LineageError
from twingraph_nb.settings import Settings
from twingraph_nb.store import Store

__all__ = ["push"]

_LOOK = 0.5
"""Seconds between two looks at how far it is."""


def push(words: Sequence[str], *, everything: bool) -> int:
    """Send what is not there yet, and wait until it is; with `everything` all runs of the store.

    Raises:
        LineageError: there is no database, or it cannot be written to now.
    """
    from twingraph_nb.lineage.remote import write_to

    settings = Settings.load()
    url = words[0] if words else settings.lineage
    if len(words) > 1 or not url:
        raise LineageError(
            "write: twingraph lineage push ws://HOST:8182/gremlin, or set TWINGRAPH_LINEAGE"
        )
    if not Store.exists(settings.home):
        raise LineageError(f"nothing is recorded in {settings.home} yet")
    with closing(Store.open(settings.home, readonly=True)) as store:
        writer = write_to(url, settings.home, store, everything=everything)
        try:
            while not writer.settle(_LOOK):
                status = writer.status
                if status.state in ("away", "refused"):
                    raise LineageError(str(status))
            sys.stdout.write(f"{writer.status}, {writer.status.written:,} elements written\n")
        finally:
            writer.close(longest=0.0)
    return 0
