"""Frames of the Gremlin protocol: requests as they come, answers as they go.

A request begins with the length and the name of its format; what it is answered in is the same.
Source: Apache TinkerPop, Provider Documentation, "Graph Driver Provider Requirements".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol
from uuid import UUID

from twingraph_nb.lineage import serve_binary, serve_binary_results, serve_graphson
from twingraph_nb.lineage.serve_values import MalformedMessage

__all__ = ["NO_ID", "Form", "Request", "Unreadable", "read_request", "request_id"]

NO_ID = UUID(int=0)
"""What an answer to a request bears whose id could not be read."""

_ID = re.compile(
    rb'"requestId"\s*:\s*(?:\{\s*"@type"\s*:\s*"g:UUID"\s*,\s*"@value"\s*:\s*)?"([0-9a-fA-F-]{32,36})"'
)
_VERSION = 0x81


class Form(Protocol):
    """A format that requests and answers are in. is_text: whether its frames are text."""

    is_text: bool

    def request(self, body: bytes) -> tuple[object, object, object, object]:
        """Give the id, operation, processor and arguments of a request."""
        ...

    def id_of(self, body: bytes) -> UUID:
        """Give the id of a request, which need not be well-formed; `NO_ID` when there is none."""
        ...

    def item(self, value: object, *, whole: bool) -> bytes:
        """Give one result; an element with its properties, or (not `whole`) id and label."""
        ...

    def answer(
        self,
        id: UUID,
        code: int,
        message: str,
        attributes: Mapping[str, object],
        items: Sequence[bytes] | None,
    ) -> bytes:
        """Give the frame of an answer."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for."""

    id: UUID
    op: str
    processor: str
    args: dict[str, Any]
    form: Form


class Unreadable(MalformedMessage):
    """A frame that is no request. id, form: how it is answered all the same."""

    def __init__(self, why: str, id: UUID, form: Form) -> None:
        self.id, self.form = id, form
        super().__init__(why)


class _GraphSON:
    """GraphSON of one version."""

    is_text = True

    def __init__(self, version: int) -> None:
        self._writers = {
            whole: serve_graphson.Writer(version, whole=whole) for whole in (True, False)
        }
        self._typed = version == 3

    def request(self, body: bytes) -> tuple[object, object, object, object]:
        found = json.loads(body, parse_constant=_no_constant)
        if not isinstance(found, dict):
            raise MalformedMessage("a request is a JSON object")
        id, *rest = (found.get(name) for name in ("requestId", "op", "processor"))
        return serve_graphson.read(id), *rest, serve_graphson.read(found.get("args") or {})

    def id_of(self, body: bytes) -> UUID:
        found = _ID.search(body)
        try:
            return UUID(found[1].decode()) if found else NO_ID
        except ValueError:
            return NO_ID

    def item(self, value: object, *, whole: bool) -> bytes:
        return serve_graphson.text_of(self._writers[whole].typed(value)).encode()

    def answer(
        self,
        id: UUID,
        code: int,
        message: str,
        attributes: Mapping[str, object],
        items: Sequence[bytes] | None,
    ) -> bytes:
        status = serve_graphson.text_of(
            {"message": message, "code": code, "attributes": self._writers[True].typed(attributes)}
        )
        before, after = ('{"@type":"g:List","@value":[', "]}") if self._typed else ("[", "]")
        data = b"null" if items is None else before.encode() + b",".join(items) + after.encode()
        meta = '{"@type":"g:Map","@value":[]}' if self._typed else "{}"
        head = f'{{"requestId":"{id}","status":{status},"result":{{"data":'
        return head.encode() + data + f',"meta":{meta}}}}}'.encode()


class _GraphBinary:
    """GraphBinary 1."""

    is_text = False

    def __init__(self) -> None:
        self._writers = {whole: serve_binary_results.Writer(whole=whole) for whole in (True, False)}

    def request(self, body: bytes) -> tuple[object, object, object, object]:
        reader = serve_binary.Reader(body)
        version = reader.take(1)[0]
        if version != _VERSION:
            raise MalformedMessage(f"GraphBinary 1 is spoken here, not 0x{version:02x}")
        id = UUID(bytes=reader.take(16))
        op, processor = reader.text(), reader.text()
        args = reader.mapping()
        if reader.at != len(body):
            raise MalformedMessage(f"there are {len(body) - reader.at} bytes behind the request")
        return id, op, processor, args

    def id_of(self, body: bytes) -> UUID:
        return UUID(bytes=body[1:17]) if len(body) >= 17 else NO_ID

    def item(self, value: object, *, whole: bool) -> bytes:
        return self._writers[whole].typed(value)

    def answer(
        self,
        id: UUID,
        code: int,
        message: str,
        attributes: Mapping[str, object],
        items: Sequence[bytes] | None,
    ) -> bytes:
        data = b"\xfe\x01"
        if items is not None:
            data = b"\x09\x00" + len(items).to_bytes(4, "big") + b"".join(items)
        return b"".join(
            (
                bytes((_VERSION, 0)), id.bytes, code.to_bytes(4, "big"),
                b"\x00", serve_binary_results.pack_text(message),
                self._writers[True].map(attributes), self._writers[True].map({}), data,
            )
        )  # fmt: skip


def _no_constant(name: str) -> NoReturn:
    raise MalformedMessage(f"{name} is no JSON")


_GRAPHSON_3 = _GraphSON(3)
_FORMS: dict[bytes, Form] = {
    b"application/vnd.gremlin-v3.0+json": _GRAPHSON_3,
    b"application/json": _GRAPHSON_3,
    b"application/vnd.gremlin-v2.0+json": _GraphSON(2),
    b"application/vnd.graphbinary-v1.0": _GraphBinary(),
}


def read_request(frame: bytes | str) -> Request:
    """Give the request of a frame.

    Raises:
        Unreadable: it is none.
    """
    form, body = _opened(frame)
    try:
        id, op, processor, args = form.request(body)
    except MalformedMessage as exc:
        raise Unreadable(str(exc), form.id_of(body), form) from exc
    except RecursionError as exc:
        raise Unreadable("the request is nested too deeply", form.id_of(body), form) from exc
    except ValueError as exc:
        raise Unreadable(f"the request is no JSON: {exc}", form.id_of(body), form) from exc
    try:
        made = id if isinstance(id, UUID) else UUID(str(id))
    except ValueError as exc:
        raise Unreadable("requestId is no UUID", NO_ID, form) from exc
    if not isinstance(op, str) or not isinstance(processor or "", str):
        raise Unreadable("a request names its op and its processor", made, form)
    if not isinstance(args, dict) or not all(isinstance(key, str) for key in args):
        raise Unreadable("args is no map of names to values", made, form)
    return Request(made, op, str(processor or ""), args, form)


def request_id(frame: bytes | str) -> tuple[UUID, Form]:
    """Give the id of a request, which is not read, and the format of its answer.

    Raises:
        Unreadable: its format is not spoken here.
    """
    form, body = _opened(frame)
    return form.id_of(body), form


def _opened(frame: bytes | str) -> tuple[Form, bytes]:
    """The format of a frame, and what is in it."""
    if isinstance(frame, str):
        return _GRAPHSON_3, frame.encode("utf-8", "replace")
    size = frame[0] if frame else 0
    name = frame[1 : 1 + size]
    form = _FORMS.get(name)
    if form is None:
        spoken = ", ".join(one.decode() for one in _FORMS)
        raise Unreadable(
            f"the format {name!r} is not spoken here; these are: {spoken}", NO_ID, _GRAPHSON_3
        )
    return form, frame[1 + size :]
