"""A server that speaks the Gremlin Server protocol, so that any Gremlin client can ask a graph.

    with Server(graph, writable=True) as server:
        DriverRemoteConnection(server.url, "g", username="twingraph", password=server.token)

It listens on this machine only and wants a token, unless it is told otherwise. It has a thread
with an asyncio loop for the connections, and threads in which requests are answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import ssl
import threading
from pathlib import Path

from aiohttp import web

from twingraph_nb.errors import LineageError
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.live import LiveGraph
from twingraph_nb.lineage.serve_connection import Bounds, Connections
from twingraph_nb.lineage.serve_requests import Place

__all__ = ["Bounds", "CannotServe", "Server"]

PATH = "/gremlin"
_SHORTEST_TOKEN = 16
_PATIENCE = 5.0
"""Seconds that a server which closes gives those who are in the middle of an answer."""


class CannotServe(LineageError):
    """A server that cannot be started, or must not be as it was asked for."""


class Server:
    """A graph on a port.

    url: where it is, "ws://127.0.0.1:8182/gremlin". token: what clients must know; the password
    of any user, or a bearer token.
    """

    def __init__(
        self,
        graph: Graph | LiveGraph,
        *,
        writable: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        certificate: tuple[Path | str, Path | str | None] | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        """Make a server, which is not yet started.

        Args:
            graph: what is asked; one that is live is brought up to date by each request.
            writable: whether clients may change it; each request is a transaction.
            port: 0 takes one that is free.
            token: a new one is made by default.
            certificate: PEM files of the certificate chain and its key, for wss.
            bounds: what a client may use.
        Raises:
            CannotServe: others could listen in, since the host is not this machine alone and
                there is no certificate; or the token is too short.
        """
        # By its name it would be two addresses, with a free port of its own for each.
        self.host, self.port = "127.0.0.1" if host == "localhost" else host, port
        self.token = secrets.token_urlsafe(32) if token is None else token
        self._tls = None if certificate is None else _tls(*certificate)
        if len(self.token) < _SHORTEST_TOKEN:
            raise CannotServe(f"a token has at least {_SHORTEST_TOKEN} characters")
        if not _is_loopback(self.host) and self._tls is None:
            raise CannotServe(
                f"{host} can be reached from other machines, and without a certificate everybody "
                "in between reads the token: give --cert and --key, or serve on 127.0.0.1"
            )
        self._place = Place(graph, writable=writable)
        self._connections = Connections(self._place, self.token, bounds or Bounds())
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where clients find it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self._tls else 'ws'}://{host}:{self.port}{PATH}"

    @property
    def connected(self) -> int:
        """How many clients are connected."""
        return self._connections.count

    def start(self) -> Server:
        """Listen; gives itself. `port` is then the one that was taken.

        Raises:
            CannotServe: the address is taken, or is none of this machine's.
        """
        if self._loop is not None:
            return self
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="twingraph-serve", daemon=True
        )
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        except OSError as exc:
            self._end()
            why = exc.strerror or exc
            raise CannotServe(f"cannot listen on {self.host}:{self.port}: {why}") from exc
        return self

    def close(self) -> None:
        """Let go of all clients and of the port. What was being answered is given up."""
        if self._loop is None:
            return
        asyncio.run_coroutine_threadsafe(self._part(), self._loop).result()
        self._end()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _listen(self) -> None:
        app = web.Application()
        app.router.add_get(PATH, self._connections.handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_PATIENCE)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, ssl_context=self._tls)
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        self.port = self._runner.addresses[0][1]

    async def _part(self) -> None:
        await self._connections.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def _end(self) -> None:
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        with contextlib.suppress(RuntimeError):
            loop.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tls(chain: Path | str, key: Path | str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(chain, key)
    except (OSError, ssl.SSLError) as exc:
        raise CannotServe(f"{chain} is no certificate that can be used: {exc}") from exc
    return context
