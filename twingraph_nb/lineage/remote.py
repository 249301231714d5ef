"""The graph of executions in a database elsewhere: written to it, and asked there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from twingraph_nb.events import Batch
from twingraph_nb.lineage.forgotten import Forgotten
from twingraph_nb.lineage.remote_address import read_address
from twingraph_nb.lineage.remote_backlog import RunStore, Sources
from twingraph_nb.lineage.remote_reader import remote_source
from twingraph_nb.lineage.remote_writer import RemoteStatus, RemoteWriter

__all__ = ["RemoteStatus", "RemoteWriter", "read_address", "remote_source", "write_to"]


def write_to(
    url: str,
    home: Path,
    store: RunStore | None,
    *,
    history: Callable[[str], Sequence[Batch]] = lambda run: (),
    runs: Sequence[str] = (),
    everything: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
) -> RemoteWriter:
    """Begin to write to a database; what earlier sessions have left over goes there too.

    Args:
        url: see `read_address`.
        home: folder of the store.
        store: where runs are recorded; without one, what cannot be sent in time is lost.
        history: gives what happened in a run of this process, where there is no store.
        runs: of this process so far.
        everything: all that the store has, also of sessions that did not write anywhere.
        say: told a sentence when something is wrong, on the writer's thread.
    Raises:
        LineageError: the URL is none.
    """
    sources = Sources(store, history, Forgotten(home).runs, tuple(runs), everything)
    return RemoteWriter(read_address(url), sources, home=home if store else None, say=say)
