"""The command `twingraph lineage serve`: the graph, or one of your own, for any Gremlin client."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from twingraph_nb.errors import LineageError
from twingraph_nb.events import Batch
from twingraph_nb.settings import Settings
from twingraph_nb.store import RunLength, Store

if TYPE_CHECKING:
    from twingraph_nb.lineage.graph import Graph
    from twingraph_nb.lineage.live import LiveGraph
    from twingraph_nb.lineage.serve import Server

__all__ = ["add_arguments", "serve"]

_PORT = 8182
"""Where Gremlin Server listens, and clients look first."""
_SWITCH = 0.0005
"""Seconds that a thread goes on while others wait; with Python's 0.005 a short query among long
ones would wait ten times as long."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `serve` to those of `twingraph lineage`."""
    group = parser.add_argument_group("serve")
    group.add_argument(
        "--free", metavar="FILE", help="a graph of your own, kept in this file, that clients change"
    )
    group.add_argument("--host", default="127.0.0.1", help="where to listen (127.0.0.1)")
    group.add_argument(
        "--port", type=_port, default=_PORT, help=f"0 takes one that is free ({_PORT})"
    )
    group.add_argument("--token-file", metavar="FILE", help="what clients must know (a new token)")
    group.add_argument("--cert", metavar="FILE", help="certificate chain (PEM), for wss://")
    group.add_argument("--key", metavar="FILE", help="its private key (PEM)")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"wants a port, 0 to 65535, not {text!r}")
    return int(text)


def serve(namespace: argparse.Namespace) -> int:
    """Serve until somebody ends it: Ctrl-C, or SIGTERM."""
    from twingraph_nb.lineage.serve import Server

    if namespace.key and not namespace.cert:
        raise LineageError("--key belongs to a certificate: give --cert too")
    with ExitStack() as stack:
        graph: Graph | LiveGraph
        if namespace.free:
            graph, what = stack.enter_context(_free(Path(namespace.free)))
        else:
            graph, what = stack.enter_context(_lineage())
        server = Server(
            graph,
            writable=bool(namespace.free),
            host=namespace.host,
            port=namespace.port,
            token=_token(namespace.token_file),
            certificate=(namespace.cert, namespace.key) if namespace.cert else None,
        )
        stopped = _asked_to_stop()
        sys.setswitchinterval(_SWITCH)
        stack.enter_context(server)
        _announce(server, what, shown=not namespace.token_file)
        stopped.wait()
    return 0


def _asked_to_stop() -> threading.Event:
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return stopped


def _token(file: str | None) -> str | None:
    if file is None:
        return None
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise LineageError(f"{file} cannot be read: {exc}") from exc


def _announce(server: Server, what: str, *, shown: bool) -> None:
    """Say where it is and how to get in: a line that can be pasted."""
    password = server.token if shown else "..."
    sys.stdout.write(
        f"{what} is served at {server.url}, until Ctrl-C\n"
        f'g = traversal().with_(DriverRemoteConnection("{server.url}", "g", '
        f'username="twingraph", password="{password}"))\n'
    )
    sys.stdout.flush()


# -- what is served -------------------------------------------------------------------------------


class _StoreWhenThere:
    """The store of a home, from when there is one: the first run may come later than a server."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._store: Store | None = None

    def lengths(self) -> Sequence[RunLength]:
        if self._store is None and Store.exists(self._home):
            self._store = Store.open(self._home, readonly=True)
        return self._store.lengths() if self._store is not None else ()

    def events(self, run_id: str, start: int = 0) -> list[Batch]:
        return self._store.events(run_id, start) if self._store is not None else []

    def close(self) -> None:
        if self._store is not None:
            self._store.close()


@contextmanager
def _lineage() -> Iterator[tuple[LiveGraph, str]]:
    from twingraph_nb.lineage.forgotten import Forgotten
    from twingraph_nb.lineage.live import LiveGraph

    home = Settings.load().home
    store = _StoreWhenThere(home)
    live = LiveGraph(store, forgotten=Forgotten(home).runs)
    live.refresh()
    try:
        yield live, f"the graph of everything that ran ({home})"
    finally:
        store.close()


@contextmanager
def _free(file: Path) -> Iterator[tuple[Graph, str]]:
    """A graph in a file. It is written anew when the server has ended, whole or not at all."""
    from twingraph_nb.lineage import graphson
    from twingraph_nb.lineage.graph import Graph

    if not os.access(file.parent, os.W_OK):
        raise LineageError(f"{file} cannot be written: {file.parent} is no folder to write into")
    graph = Graph()
    _reached(file, lambda: graphson.load(file, graph) if file.exists() else None)
    yield graph, f"the graph in {file}"
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        _reached(file, lambda: graphson.save(graph, beside))
        _reached(file, lambda: os.replace(beside, file))
    finally:
        beside.unlink(missing_ok=True)
    sys.stdout.write(f"{file}: {len(graph.vertices)} vertices, {len(graph.edges)} edges\n")


def _reached(file: Path, act: Callable[[], object]) -> None:
    try:
        act()
    except (OSError, UnicodeDecodeError) as exc:
        raise LineageError(f"{file} cannot be read or written: {exc}") from exc
