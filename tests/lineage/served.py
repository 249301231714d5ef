"""Clients of a served graph: gremlinpython's own, and one that sends any bytes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import websocket
from gremlin_python.driver import serializer
from gremlin_python.driver.client import Client
from gremlin_python.driver.driver_remote_connection import DriverRemoteConnection
from gremlin_python.process.anonymous_traversal import traversal
from gremlin_python.process.graph_traversal import GraphTraversalSource

from twingraph_nb.lineage.serve import Server

__all__ = ["GRAPHSON", "SERIALIZERS", "Raw", "client", "opened", "request", "served"]

SERIALIZERS = {
    "graphson": serializer.GraphSONSerializersV3d0,
    "graphbinary": serializer.GraphBinarySerializersV1,
}
GRAPHSON = b"application/vnd.gremlin-v3.0+json"


@contextmanager
def served(server: Server, form: str = "graphson", **more: Any) -> Iterator[GraphTraversalSource]:
    """A `g` that asks the server, by gremlinpython's driver."""
    given = {"username": "anybody", "password": server.token} | more
    connection = DriverRemoteConnection(
        server.url, "g", message_serializer=SERIALIZERS[form](), **given
    )
    with closing(connection):
        yield traversal().with_(connection)


@contextmanager
def client(server: Server, form: str = "graphson", **more: Any) -> Iterator[Client]:
    """gremlinpython's client for text."""
    given = {"username": "anybody", "password": server.token} | more
    with closing(Client(server.url, "g", message_serializer=SERIALIZERS[form](), **given)) as made:
        yield made


def request(op: str = "eval", processor: str = "", **args: Any) -> dict[str, Any]:
    """A request as GraphSON has it."""
    return {"requestId": str(uuid.uuid4()), "op": op, "processor": processor, "args": args}


class Raw:
    """A WebSocket on which anything can be sent."""

    def __init__(self, socket: websocket.WebSocket) -> None:
        self.socket = socket

    def send(self, body: bytes | str | Mapping[str, Any]) -> None:
        """Send a frame: as it is, or a request in GraphSON 3."""
        if isinstance(body, Mapping):
            body = bytes((len(GRAPHSON),)) + GRAPHSON + json.dumps(body).encode()
        self.socket.send(body) if isinstance(body, str) else self.socket.send_binary(body)

    def answer(self) -> dict[str, Any]:
        """The next answer."""
        told: dict[str, Any] = json.loads(self.socket.recv())
        return told

    def ask(self, body: bytes | str | Mapping[str, Any]) -> tuple[int, str]:
        """The code and the message of the answer."""
        self.send(body)
        status = self.answer()["status"]
        return status["code"], status["message"]

    def end(self) -> bytes:
        """What comes until the server closes the connection."""
        opcode, data = self.socket.recv_data(control_frame=True)
        while opcode != websocket.ABNF.OPCODE_CLOSE:
            opcode, data = self.socket.recv_data(control_frame=True)
        return bytes(data)


@contextmanager
def opened(server: Server, token: str | None = "", **more: Any) -> Iterator[Raw]:
    """A connection that has said who it is; not with None as its token."""
    header = [] if token is None else [f"Authorization: Bearer {token or server.token}"]
    given = {"header": header, "suppress_origin": True, "timeout": 60} | more
    socket = websocket.create_connection(server.url, **given)
    try:
        yield Raw(socket)
    finally:
        socket.close()
        socket.shutdown()  # close() does nothing when the server was first
