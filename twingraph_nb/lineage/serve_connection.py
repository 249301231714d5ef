"""The connections of a server: who may come in, and requests on their way through threads."""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
import hmac
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from uuid import UUID

from aiohttp import WSCloseCode, WSMsgType, web

from twingraph_nb.lineage.serve_frames import (
    Form,
    Request,
    Unreadable,
    read_request,
    request_id,
)
from twingraph_nb.lineage.serve_requests import Asked, Frame, Place, Status, framed
from twingraph_nb.lineage.serve_watch import Overdue, TooMuchMemory, Watch
from twingraph_nb.lineage.traverser import Limits

__all__ = ["Bounds", "Connections"]

_LONGEST_LOGIN = 1 << 16
"""Bytes of a message that is read from a client who has not said who it is."""
_ASIDE = 4096
"""Bytes that a request takes while it waits, beside its own."""
_GOODBYE = 3.0
"""Seconds for the end of a connection."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What clients may use.

    query: what one request may. frame: bytes of a message. connections: at once. threads: in
    which requests are answered. each: requests of one connection that are answered at once.
    memory: bytes by which the process may grow meanwhile. login, send: seconds that a client has
    to say who it is, and to take an answer.
    """

    query: Limits = field(default_factory=lambda: Limits(seconds=30.0))
    frame: int = 10 << 20
    connections: int = 256
    threads: int = 16
    each: int = 4
    memory: int | None = 2 << 30
    login: float = 60.0
    send: float = 30.0


class Connections:
    """All connections of a server."""

    def __init__(self, place: Place, token: str, bounds: Bounds) -> None:
        self.place, self.bounds = place, bounds
        self.watch = Watch(bounds.memory)
        self.threads = ThreadPoolExecutor(bounds.threads, thread_name_prefix="twingraph-gremlin")
        self._token = token.encode()
        self._open: set[_Connection] = set()

    async def handle(self, http: web.Request) -> web.StreamResponse:
        """Serve one client from its first byte to its last."""
        known = self._admitted(http)
        # A compressed message could be much larger than it looks; on one machine it gains nothing.
        socket = web.WebSocketResponse(
            max_msg_size=self.bounds.frame, compress=False, timeout=2.0, autoclose=True
        )
        if not socket.can_prepare(http):
            raise web.HTTPUpgradeRequired(text="this is a Gremlin Server: connect by WebSocket\n")
        if len(self._open) >= self.bounds.connections:
            raise web.HTTPServiceUnavailable(text="there are too many connections\n")
        connection = _Connection(self, socket, http, known=known)
        self._open.add(connection)
        try:
            await socket.prepare(http)
            await connection.serve()
        finally:
            self._open.discard(connection)
        return socket

    async def close(self) -> None:
        """Part with all clients; what they changed is kept or taken back when this is done."""
        await asyncio.gather(*(one.close() for one in self._open))
        end = functools.partial(self.threads.shutdown, cancel_futures=True)
        await asyncio.get_running_loop().run_in_executor(None, end)
        self.place.searchers.close()

    @property
    def count(self) -> int:
        """How many clients are connected."""
        return len(self._open)

    def knows(self, password: str) -> bool:
        """Whether it is the token; how long that takes does not tell how near it is."""
        return hmac.compare_digest(password.encode("utf-8", "replace"), self._token)

    def _admitted(self, http: web.Request) -> bool:
        """Whether a client has said who it is already.

        Raises:
            web.HTTPForbidden: a web page asks; its browser says so.
            web.HTTPUnauthorized: it is somebody else.
        """
        if "Origin" in http.headers:
            raise web.HTTPForbidden(text="web pages may not connect\n")
        scheme, _, value = http.headers.get("Authorization", "").partition(" ")
        if not scheme:
            return False
        password = value.strip()
        if scheme.lower() == "basic":
            password = _decoded(password).rpartition(":")[2]
        if scheme.lower() not in ("bearer", "basic") or not self.knows(password):
            raise web.HTTPUnauthorized(
                text="the token is wrong\n", headers={"WWW-Authenticate": "Bearer"}
            )
        return True


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""


def _peer(http: web.Request) -> str:
    """The client's address, as Gremlin Server writes it."""
    peer = http.transport.get_extra_info("peername") if http.transport else None
    return "/{}:{}".format(*peer[:2]) if peer else ""


class _Connection:
    """One client."""

    def __init__(
        self, all_: Connections, socket: web.WebSocketResponse, http: web.Request, *, known: bool
    ) -> None:
        self._all, self._socket, self._http = all_, socket, http
        self._host = _peer(http)
        self._known = known
        self._deferred: list[Frame] = []  # what it asked before it said who it is
        self._loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(all_.bounds.each)
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked: set[Asked] = set()
        self._waiting = 0  # bytes of requests that are not answered yet
        self._room = asyncio.Event()

    async def serve(self) -> None:
        """Answer until either side ends it."""
        bounds = self._all.bounds
        until = self._loop.time() + bounds.login
        try:
            while True:
                left = None if self._known else max(0.0, until - self._loop.time())
                message = await self._socket.receive(left)
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    break
                if self._known:
                    await self._take(message.data)
                else:
                    await self._login(message.data)
        except TimeoutError:
            await self._refuse("say who you are")
        finally:
            await self._give_up()

    async def close(self) -> None:
        """End it, with what is being answered."""
        for asked in self._asked:
            asked.stop()
        await self._part(WSCloseCode.GOING_AWAY, "the server ends")

    async def _give_up(self) -> None:
        for asked in self._asked:
            asked.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _refuse(self, why: str) -> None:
        await self._part(WSCloseCode.POLICY_VIOLATION, why)

    async def _part(self, code: WSCloseCode, why: str) -> None:
        """Say goodbye; to one that does not listen, by ending what carries it."""
        try:
            async with asyncio.timeout(_GOODBYE):
                await self._socket.close(code=code, message=why.encode())
        except TimeoutError:
            self._abort()

    def _abort(self) -> None:
        if self._http.transport is not None:
            self._http.transport.abort()

    # -- who it is --------------------------------------------------------------------------------

    async def _login(self, frame: Frame) -> None:
        """Take a message of a client that has not said who it is."""
        try:
            request = read_request(frame) if len(frame) <= _LONGEST_LOGIN else None
            id, form = (request.id, request.form) if request else request_id(frame)
        except Unreadable as exc:
            await self._tell(exc.form, exc.id, Status.MALFORMED, str(exc))
            await self._refuse("that was no request")
            return
        if request is not None and request.op == "authentication":
            await self._authenticate(request)
            return
        self._deferred.append(frame)
        self._waiting += len(frame) + _ASIDE
        if self._waiting > self._all.bounds.frame:
            await self._refuse("say who you are")
        elif len(self._deferred) == 1:
            await self._tell(form, id, Status.AUTHENTICATE, "")

    async def _authenticate(self, request: Request) -> None:
        sasl = request.args.get("sasl")
        # PLAIN: who to be, who it is, password, with a NUL between them (RFC 4616).
        parts = _decoded(sasl).split("\0") if isinstance(sasl, str) else []
        if len(parts) != 3 or not self._all.knows(parts[2]):
            why = "Username and/or password are incorrect"
            await self._tell(request.form, request.id, Status.UNAUTHORIZED, why)
            await self._refuse("who are you?")
            return
        self._known = True
        deferred, self._deferred, self._waiting = self._deferred, [], 0
        for frame in deferred:
            await self._take(frame)
        if not deferred:
            await self._tell(request.form, request.id, Status.NOTHING, "")

    async def _tell(self, form: Form, id: UUID, code: int, text: str) -> None:
        """Send an answer without results."""
        await self._send(framed(form, id, code, text, self._host))

    # -- what it asks -----------------------------------------------------------------------------

    async def _take(self, frame: Frame) -> None:
        """Have a request answered; while too much waits, the next one is not read."""
        self._waiting += len(frame) + _ASIDE
        task = asyncio.create_task(self._answer(frame))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        while self._waiting > self._all.bounds.frame:
            self._room.clear()
            await self._room.wait()

    async def _answer(self, frame: Frame) -> None:
        try:
            async with self._slots:
                all_ = self._all
                asked = Asked(frame, all_.place, all_.watch, all_.bounds.query, self._host)
                self._asked.add(asked)
                try:
                    last = await self._loop.run_in_executor(self._all.threads, self._work, asked)
                finally:
                    asked.stop()
                    self._asked.discard(asked)
                if last is not None:
                    await self._send(last)
        finally:
            self._waiting -= len(frame) + _ASIDE
            self._room.set()

    def _work(self, asked: Asked) -> Frame | None:
        """Answer a request, in a thread; gives the last frame, which is yet to be sent."""
        seconds = self._all.bounds.query.seconds
        try:
            return self._all.watch.over(seconds, lambda: self._answered(asked))
        except (Overdue, TooMuchMemory) as exc:  # it came between two frames
            return asked.failure(exc)

    def _answered(self, asked: Asked) -> Frame | None:
        last: Frame | None = None
        for frame in asked.frames():
            if last is not None:
                sending = asyncio.run_coroutine_threadsafe(self._send(last), self._loop)
                if not self._all.watch.aside(sending.result):
                    return None
            last = frame
        return last

    async def _send(self, frame: Frame) -> bool:
        """Send a frame; whether the client took it in time. One that does not is let go."""
        try:
            async with asyncio.timeout(self._all.bounds.send):
                if isinstance(frame, str):
                    await self._socket.send_str(frame)
                else:
                    await self._socket.send_bytes(frame)
        except TimeoutError:
            self._abort()
        except (ConnectionError, RuntimeError):  # it is gone, or going
            pass
        else:
            return True
        return False
