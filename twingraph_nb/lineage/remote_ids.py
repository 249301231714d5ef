"""Ids for a database that takes only numbers, as a stock Gremlin Server does.

Each of our ids is a text, and its number follows from it, so that it is the same whoever writes,
and however often. The text goes along as a property. What is asked and written elsewhere speaks of
texts only: a traversal is changed on its way out.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from gremlin_python.process.graph_traversal import __
from gremlin_python.process.traversal import Bytecode, CardinalityValue, Direction, P, T
from gremlin_python.statics import long

from twingraph_nb.lineage.remote_rows import Row, Rows

__all__ = ["TEXT_ID", "number_of", "numbered"]

TEXT_ID = "lineage_id"
"""Property of vertices and edges that holds the text whose number is their id."""

_BY_ID = {"V", "E", "hasId"}
_IDS = (T.id, Direction.OUT, Direction.IN)


def number_of(id: str) -> int:
    """Give the number that stands for an id: 63 bits of its BLAKE2b (RFC 7693).

    Among ten million ids two are the same with a probability of 5 in a million.
    """
    digest = blake2b(id.encode("utf-8", "replace"), digest_size=8).digest()
    made: int = int.__new__(long, int.from_bytes(digest) >> 1)
    return made


def numbered(code: Bytecode) -> Bytecode:
    """Give a traversal that means the same where ids are numbers: it takes and gives the texts.

    In what is shown as a whole, such as a vertex or `elementMap()`, the id is the number.
    """
    made = Bytecode()
    made.source_instructions = code.source_instructions
    made.step_instructions = [_step(name, args) for name, *args in code.step_instructions]
    return made


def _step(name: str, args: list[Any]) -> list[Any]:
    if name in _BY_ID or (name == "has" and args[:1] == [T.id]):
        return [name, *map(_number, args)]
    if name == "id":
        return ["coalesce", *_text()]
    if name == "by" and args[:1] == [T.id]:
        return [name, __.coalesce(*_text()).bytecode, *args[1:]]
    return [name, *map(_inner, args)]


def _text() -> tuple[Bytecode, Bytecode]:
    """The id as it is here; elements that somebody else has made have none."""
    return __.values(TEXT_ID).bytecode, __.id_().bytecode


def _number(value: Any) -> Any:
    """The number of an id, or of each in a predicate or a list; all else as it is."""
    if isinstance(value, str):
        return number_of(value)
    if isinstance(value, list | tuple | set):
        return [_number(one) for one in value]
    if isinstance(value, P):
        other = None if value.other is None else _number(value.other)
        return type(value)(value.operator, _number(value.value), other)
    return value


def _inner(value: Any) -> Any:
    if isinstance(value, Rows):
        return Rows(map(_row, value))
    if isinstance(value, Bytecode) and not isinstance(value, CardinalityValue):
        return numbered(value)
    return value


def _row(row: Row) -> Row:
    """A row that is written, with its ids as numbers, and the text told when it is new."""
    made = {}
    for part, told in row.items():
        if isinstance(told, Mapping) and T.id in told:
            made[part] = {k: number_of(v) if k in _IDS else v for k, v in told.items()}
            if "p" in row:
                made["p"] = {**row["p"], TEXT_ID: told[T.id]}
        else:
            made.setdefault(part, told)
    return made
