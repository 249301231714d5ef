"""A database elsewhere as gremlinpython's `g`, which also works inside a running event loop.

gremlinpython's own connection runs a loop in the calling thread, which a notebook does not allow.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from gremlin_python.driver.remote_connection import RemoteConnection, RemoteTraversal
from gremlin_python.process.anonymous_traversal import traversal
from gremlin_python.process.graph_traversal import GraphTraversalSource
from gremlin_python.process.traversal import Bytecode, Traverser

from twingraph_nb.lineage.remote_address import Address
from twingraph_nb.lineage.remote_wire import Wire

__all__ = ["RemoteReader", "remote_source"]

_DISCARD = "discard"


def remote_source(address: Address) -> GraphTraversalSource:
    """Give `g` over the graph of a database; it connects when it is asked something."""
    made: GraphTraversalSource = traversal().with_(RemoteReader(address))
    return made


class RemoteReader(RemoteConnection):  # type: ignore[misc, unused-ignore]
    """Asks a database; one connection, whoever asks.

    address: where it is.
    """

    def __init__(self, address: Address) -> None:
        super().__init__(str(address), address.source)
        self.address = address
        self._wire = Wire(address)
        self._loop = asyncio.new_event_loop()
        self._turn = threading.Lock()
        self._end = weakref.finalize(self, _ended, self._loop, self._wire)
        threading.Thread(
            target=_turning, args=(self._loop,), name="twingraph-gremlin", daemon=True
        ).start()

    def submit(self, bytecode: Bytecode) -> RemoteTraversal:
        """Give the results of a traversal.

        Raises:
            LineageError: the database is away, refuses, or answers with an error.
        """
        with self._turn:  # one traversal at a time
            asked = asyncio.run_coroutine_threadsafe(self._ask(_known(bytecode)), self._loop)
            return RemoteTraversal(_traversers(asked.result()))

    async def _ask(self, bytecode: Bytecode) -> list[Any]:
        if self._wire.is_lost:  # servers hang up on those who are silent for long, or start again
            await self._wire.close()
        return await self._wire.ask(bytecode)

    def submit_async(self, bytecode: Bytecode) -> Future[RemoteTraversal]:
        """The same as a future."""
        future: Future[RemoteTraversal] = Future()
        threading.Thread(target=_settle, args=(self, bytecode, future), daemon=True).start()
        return future

    def close(self) -> None:
        """Let go of the connection."""
        self._end()

    def is_closed(self) -> bool:
        """Whether it was closed."""
        return not self._end.alive

    def is_session_bound(self) -> bool:
        """Transactions are not offered: it is for reading."""
        return False


def _known(bytecode: Bytecode) -> Bytecode:
    """`iterate()` adds `discard()`, which servers before 3.8 do not know; `count()` will do."""
    steps = bytecode.step_instructions
    if not steps or steps[-1][0] != _DISCARD:
        return bytecode
    made = Bytecode(bytecode)
    made.step_instructions = [*steps[:-1], ["count"]]
    return made


def _traversers(results: list[Any]) -> Iterator[Traverser]:
    return (Traverser(one) for one in results)


def _settle(reader: RemoteReader, bytecode: Bytecode, future: Future[RemoteTraversal]) -> None:
    try:
        future.set_result(reader.submit(bytecode))
    except Exception as exc:  # it is the asker's, who waits for the future
        future.set_exception(exc)


def _turning(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped; knows nothing of the reader, so that it can be let go."""
    loop.run_forever()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def _ended(loop: asyncio.AbstractEventLoop, wire: Wire) -> None:
    async def end() -> None:
        await wire.close()
        loop.stop()

    if loop.is_running():
        asyncio.run_coroutine_threadsafe(end(), loop)
