"""Graph databases in processes of their own, networks that fail, and what is in a graph."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gremlin_python.process.graph_traversal import GraphTraversalSource, __
from gremlin_python.process.traversal import T

from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.index import PropertyIndex
from twingraph_nb.lineage.problems import TraversalError
from twingraph_nb.lineage.remote import read_address, remote_source
from twingraph_nb.lineage.remote_ids import TEXT_ID
from twingraph_nb.lineage.serve import Server

__all__ = ["TOKEN", "Database", "Proxy", "contents", "free_port", "until"]

TOKEN = "a token of more than sixteen characters".replace(" ", "-")
_ONLY_THERE = ("revision", "last_used", TEXT_ID)
"""What the writer adds for its own use."""


class Database:
    """A free graph behind a port, in a process that can be killed. Empty at each start.

    only_numbers: it takes only numbers as ids, as a stock Gremlin Server.
    """

    def __init__(self, port: int = 0, *, only_numbers: bool = False) -> None:
        self.port, self.only_numbers = port, only_numbers
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """Start it, empty, on the same port as before."""
        kind = "LONG" if self.only_numbers else "ANY"
        command = [sys.executable, "-m", __name__, str(self.port), TOKEN, kind]
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(
            command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    @property
    def url(self) -> str:
        """Its address, with credentials."""
        return address(self.port)

    @property
    def g(self) -> GraphTraversalSource:
        """What is in it."""
        return remote_source(read_address(self.url))

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def address(port: int) -> str:
    """The address of a database of ours, with credentials."""
    return f"ws://twin:{TOKEN}@127.0.0.1:{port}/gremlin"


class Proxy:
    """A way to a database that can be cut.

    heads: what clients sent to open a connection. sent: all bytes that clients sent. let_in: asked
    with each head; who is not let in gets a 403.
    """

    def __init__(self, to: int, let_in: Callable[[bytes], bool] = lambda head: True) -> None:
        self._to, self.let_in = to, let_in
        self.heads: list[bytes] = []
        self.sent = bytearray()
        self._writers: list[asyncio.StreamWriter] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Cut all connections, in the middle of whatever goes over them."""
        self._do(self._cut())

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _close(self) -> None:
        self._server.close()
        await self._cut()

    async def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            self._writers.append(writer)
            if not self.let_in(head):
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                writer.close()
                return
            there, on = await asyncio.open_connection("127.0.0.1", self._to)
            self._writers.append(on)
            on.write(re.sub(rb"(?mi)^authorization: .*\r\n", b"", head))  # it was for us
            back = asyncio.ensure_future(self._pass(there, writer, bytearray()))
            await self._pass(reader, on, self.sent)
            await back

    @staticmethod
    async def _pass(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: bytearray
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(2**16):
                seen += data
                writer.write(data)
                await writer.drain()
            writer.close()


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def until(told: Callable[[], object], seconds: float = 90.0) -> None:
    """Wait until something is so; fail when it is not for a long time."""
    end = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < end, "it did not come to be"
        threading.Event().wait(0.01)


def contents(g: GraphTraversalSource) -> tuple[dict[str, Any], dict[str, Any]]:
    """All vertices and edges by id, whatever engine answers."""
    rows = g.V().project("id", "label", "told").by(T.id).by(T.label).by(__.value_map())
    vertices = {row["id"]: (row["label"], _plain(row["told"])) for row in rows.to_list()}
    ends = g.E().project("id", "label", "out", "in", "told").by(T.id).by(T.label)
    ends = ends.by(__.out_v().id_()).by(__.in_v().id_()).by(__.value_map())
    edges = {row.pop("id"): row for row in ends.to_list()}
    for row in edges.values():
        row["told"].pop(TEXT_ID, None)
    return vertices, edges


def _plain(told: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {key: sorted(values, key=str) for key, values in told.items() if key not in _ONLY_THERE}


class _Numbers(dict[object, Any]):
    """Elements of a TinkerGraph whose id manager is LONG: it refuses other ids in these words."""

    def get(self, id: object, default: Any = None) -> Any:
        if isinstance(id, str) and not id.lstrip("-").isdigit():
            raise TraversalError(
                "Expected an id that is convertible to class java.lang.Long but received class "
                f"java.lang.String - [{id}]"
            )
        return super().get(id, default)


def _main(port: str, token: str, kind: str) -> None:
    graph = Graph()
    if kind == "LONG":
        graph.vertices, graph.edges = _Numbers(), _Numbers()
        graph._index = PropertyIndex(graph.vertices, graph.lock)
    with Server(graph, writable=True, port=int(port), token=token) as server:
        print(server.port, flush=True)
        sys.stdin.read()


def hanging() -> Iterator[int]:
    """Give a port where connections are taken and nothing is ever answered."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        yield int(one.getsockname()[1])


if __name__ == "__main__":
    _main(*sys.argv[1:])
