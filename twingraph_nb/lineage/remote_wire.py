"""One connection to a Gremlin Server: traversals out as GraphBinary, results in.

gremlinpython builds the traversals and the bytes. Its own client is not used: its connect has no
time limit, and the interpreter's exit waits for its threads, so a hanging database would hold it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import uuid
from typing import Any

import aiohttp
from gremlin_python.driver.request import RequestMessage
from gremlin_python.driver.serializer import GraphBinarySerializersV1
from gremlin_python.process.traversal import Bytecode, Traverser

from twingraph_nb.errors import LineageError
from twingraph_nb.graph.summary import without_passwords
from twingraph_nb.lineage.redact import cut
from twingraph_nb.lineage.remote_address import Address
from twingraph_nb.lineage.remote_ids import numbered
from twingraph_nb.lineage.remote_rows import rows_writer
from twingraph_nb.lineage.remote_signing import signature
from twingraph_nb.lineage.remote_upsert import g

__all__ = ["Away", "Denied", "Refused", "RemoteError", "Strange", "Wire"]

OPEN_SECONDS = 10.0
ANSWER_SECONDS = 60.0
CLOSE_SECONDS = 1.0
_LARGEST = 64 * 2**20
"""Bytes of one answer."""
_SAID = 300
"""Most characters of what a server says that are shown."""
_DONE, _EMPTY, _PARTIAL, _AUTHENTICATE = 200, 204, 206, 407
_NOT_ALLOWED = (401, 403)
_CONVERTIBLE = "convertible to "
"""What TinkerGraph says of an id that it does not take; the class that it wants follows."""


Packed = tuple[str, bytes]
"""(id of the request, its bytes)"""


class RemoteError(LineageError):
    """A graph database elsewhere does not do what it is asked."""

    def __init__(self, address: Address, why: str) -> None:
        self.address = str(address)
        super().__init__(f"{address} {without_passwords(why)}")


class Away(RemoteError):
    """It cannot be reached, or does not answer; it may later."""


class Refused(RemoteError):
    """It does not let this user in."""


class Strange(RemoteError):
    """It answers, but not as a Gremlin Server does."""


class Denied(RemoteError):
    """It answers that it cannot do this.

    code: its status. said: its words. wants_numbers: what it cannot is take a text as an id.
    """

    def __init__(self, address: Address, code: int, said: str) -> None:
        self.code, self.said = code, cut(said, _SAID)
        kind = said.partition(_CONVERTIBLE)[2].partition("but received")[0]
        self.wants_numbers = "Long" in kind  # in an Integer there is no room for a hash
        why = f"answers with an error ({code}): {self.said}"
        if kind and not self.wants_numbers:
            why = (
                "takes no text as the id of a vertex: put "
                "gremlin.tinkergraph.vertexIdManager=ANY into its properties file"
            )
        super().__init__(address, why)


class Wire:
    """A connection of one event loop; one traversal at a time.

    opened: how often it was opened.
    """

    def __init__(self, address: Address, *, answer: float = ANSWER_SECONDS) -> None:
        """Begin closed; it is opened by `open`.

        Args:
            answer: seconds that the database may take for an answer.
        """
        self._address, self._answer = address, answer
        self._serializer = GraphBinarySerializersV1(writer=rows_writer())
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._numbers = False
        self._knows_ids = False

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._socket is not None and not self._socket.closed

    @property
    def is_lost(self) -> bool:
        """Whether the connection ended while nobody looked: then it is in vain to use it."""
        held = None if self._socket is None else self._socket.get_extra_info("socket")
        return self._socket is not None and (held is None or held.fileno() < 0)

    async def open(self) -> None:
        """Connect; nothing to do if that is so already.

        Raises:
            RemoteError: it is away, or refuses, or is no Gremlin Server.
        """
        if self.is_open:
            return
        await self.close()
        address = self._address
        try:
            headers = signature(address) if address.region else {}
        except LineageError as exc:
            raise Refused(address, f"is not asked: {exc}") from exc
        timeout = aiohttp.ClientTimeout(total=None, connect=OPEN_SECONDS)
        self._session = aiohttp.ClientSession(timeout=timeout)
        self._knows_ids = bool(address.region)  # Neptune takes texts
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                self._socket = await self._session.ws_connect(
                    address.url, headers=headers, max_msg_size=_LARGEST
                )
        except TimeoutError as exc:
            raise Away(address, f"does not answer ({OPEN_SECONDS:g} s)") from exc
        except aiohttp.WSServerHandshakeError as exc:
            raise _not_upgraded(address, exc.status) from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise Away(address, f"cannot be reached: {_reason(exc)}") from exc

    def packed(self, bytecode: Bytecode) -> Packed:
        """Give a traversal as it goes over the wire, to the database that is connected."""
        bytecode = numbered(bytecode) if self._numbers else bytecode
        aliases = {"g": self._address.source}
        return self._message("bytecode", {"gremlin": bytecode, "aliases": aliases})

    async def ask(self, bytecode: Bytecode) -> list[Any]:
        """Give the results of a traversal.

        Raises:
            RemoteError: as `open`, or it answers with an error or nonsense. After one that is
                not `Denied` the connection is closed.
        """
        await self.open()
        if not self._knows_ids:
            await self._learn()
        return await self.ask_packed(self.packed(bytecode))

    async def _learn(self) -> None:
        """Find out whether this database takes texts as ids, or only numbers."""
        self._numbers = False
        for none in (g.V("run:").count(), g.E("in_run:").count()):
            try:
                await self.ask_packed(self.packed(none.bytecode))
            except Denied as exc:  # for another reason: who asks for such ids will hear it
                self._numbers = self._numbers or exc.wants_numbers
        self._knows_ids = True

    async def ask_packed(self, packed: Packed) -> list[Any]:
        """As `ask`, for what was packed before."""
        await self.open()
        try:
            async with asyncio.timeout(self._answer):
                return await self._asked(packed)
        except TimeoutError as exc:
            await self.close()
            raise Away(self._address, f"does not answer ({self._answer:g} s)") from exc
        except Denied as exc:
            if exc.wants_numbers and self._knows_ids:  # it is another one than before
                await self.close()
            raise
        except RemoteError:
            await self.close()
            raise
        except (aiohttp.ClientError, OSError) as exc:
            await self.close()
            raise Away(self._address, f"has hung up: {_reason(exc)}") from exc

    async def close(self) -> None:
        """Let go of the connection, within a second or so."""
        socket, session = self._socket, self._session
        self._socket = self._session = None
        for one in (socket, session):
            if one is not None:
                with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await one.close()

    async def _asked(self, packed: Packed) -> list[Any]:
        id, message = packed
        assert self._socket is not None
        await self._socket.send_bytes(message)
        results: list[Any] = []
        while True:
            answer = await self._received(id)
            code = answer["status"]["code"]
            if code == _AUTHENTICATE:
                _, message = self._message("authentication", {"sasl": self._credentials()}, id)
                await self._socket.send_bytes(message)
            elif code in (_DONE, _PARTIAL, _EMPTY):
                for one in answer["result"]["data"] or ():
                    if isinstance(one, Traverser):
                        results.extend([one.object] * one.bulk)
                    else:
                        results.append(one)
                if code != _PARTIAL:
                    return results
            elif code in _NOT_ALLOWED:
                raise Refused(self._address, "refuses these credentials")
            else:
                raise Denied(self._address, code, str(answer["status"]["message"]))

    def _message(self, op: str, arguments: dict[str, Any], id: str = "") -> Packed:
        id = id or str(uuid.uuid4())
        request = RequestMessage("traversal", op, arguments)
        return id, self._serializer.serialize_message(id, request)

    async def _received(self, id: str) -> dict[str, Any]:
        assert self._socket is not None
        frame = await self._socket.receive()
        if frame.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
            raise Away(self._address, "has hung up")
        if frame.type is aiohttp.WSMsgType.ERROR:
            raise Strange(self._address, f"does not speak WebSocket: {frame.data}")
        try:
            answer: dict[str, Any] = self._serializer.deserialize_message(frame.data)
            if answer["requestId"] != id or not isinstance(answer["status"]["code"], int):
                raise ValueError("an answer to no question")
        except Exception as exc:  # whatever the reader makes of bytes that are none of its own
            raise Strange(self._address, "answers what is not Gremlin") from exc
        return answer

    def _credentials(self) -> str:
        address = self._address
        if not address.user and not address.password:
            raise Refused(address, "asks for credentials: write USER:PASSWORD@ before its host")
        plain = f"\0{address.user}\0{address.password}"
        return base64.b64encode(plain.encode()).decode()


def _not_upgraded(address: Address, status: int) -> RemoteError:
    if status in _NOT_ALLOWED or status == _AUTHENTICATE:
        return Refused(address, f"refuses these credentials (HTTP {status})")
    if status >= 500 or status == 429:
        return Away(address, f"cannot be used now (HTTP {status})")
    return Strange(address, f"is no Gremlin Server (HTTP {status}): check host, port and path")


def _reason(exc: BaseException) -> str:
    """What went wrong below, without the words of the layers in between."""
    inner = getattr(exc, "os_error", None) or exc
    if isinstance(inner, aiohttp.ClientConnectorCertificateError):
        inner = inner.certificate_error
    number = getattr(inner, "errno", None) or 0
    words = os.strerror(number) if number > 0 else getattr(inner, "strerror", None)
    return cut(str(words or inner) or type(inner).__name__, _SAID)
