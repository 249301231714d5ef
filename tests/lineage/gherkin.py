"""Gherkin files as scenarios, and the notation of values in TinkerPop's features."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from gremlin_python.process.traversal import Direction, Merge, T
from gremlin_python.statics import SingleByte, bigint, long, short

from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.text_names import Float32

__all__ = ["Scenario", "Step", "Tabled", "scenarios", "value"]


@dataclass
class Step:
    """A line of a scenario with its text block or its table."""

    text: str
    block: str | None = None
    rows: list[str] = field(default_factory=list)


@dataclass
class Scenario:
    """A scenario: where it stands, its name, its tags, its steps."""

    file: Path
    name: str
    tags: tuple[str, ...]
    steps: list[Step]


@dataclass(frozen=True)
class Tabled:
    """A path as a table writes it; its labels are not written."""

    objects: tuple[Any, ...]


def scenarios(file: Path) -> Iterator[Scenario]:
    """The scenarios of a feature file."""
    lines = iter(file.read_text(encoding="utf-8").splitlines())
    tags: list[str] = []
    found: Scenario | None = None
    for raw in lines:
        line = raw.strip()
        if line.startswith("@"):
            tags += line.split()
        elif line.startswith("Feature:"):
            tags = []
        elif line.startswith("Scenario"):
            if found is not None:
                yield found
            found = Scenario(file, line.partition(":")[2].strip(), tuple(tags), [])
            tags = []
        elif found is not None and line.split(" ")[0] in ("Given", "And", "When", "Then", "But"):
            found.steps.append(Step(line.partition(" ")[2]))
        elif line == '"""' and found is not None:
            found.steps[-1].block = _block(lines, len(raw) - len(raw.lstrip()))
        elif line.startswith("|") and found is not None:
            found.steps[-1].rows.append(_cell(line))
    if found is not None:
        yield found


def _cell(line: str) -> str:
    """The text of a row with one column, without Gherkin's escapes."""
    return re.sub(r"\\([\\|])", r"\1", line[1:-1].strip())


def _block(lines: Iterator[str], indent: int) -> str:
    taken = []
    for raw in lines:
        if raw.strip() == '"""':
            return "\n".join(taken)
        taken.append(raw[indent:] if raw[:indent].isspace() or not indent else raw.lstrip())
    raise ValueError("a text block has no end")


_NUMBERS = {
    "b": SingleByte, "s": short, "i": int, "l": long, "n": bigint, "f": Float32, "d": float,
    "m": Decimal,
}  # fmt: skip
_SPECIAL = {"d[NaN]": "nan", "d[Infinity]": "inf", "d[-Infinity]": "-inf"}
_WRAPPED = re.compile(r"(str|dt|uuid|[a-zA-Z]{1,2})\[(.*)\](?:\.(id|sid|[bsilfdmn]))?", re.DOTALL)


def value(text: Any, graph: Graph) -> Any:
    """The value that a notation stands for in this graph."""
    if isinstance(text, list):
        return [value(item, graph) for item in text]
    if isinstance(text, dict):
        return _map(text, graph)
    if not isinstance(text, str):
        return text
    if text in ("null", "true", "false"):
        return {"null": None, "true": True, "false": False}[text]
    if text in _SPECIAL:
        return float(_SPECIAL[text])
    match = _WRAPPED.fullmatch(text)
    if match is None:
        return text
    return _wrapped(match[1], match[2], match[3], text, graph)


def _wrapped(kind: str, body: str, suffix: str | None, text: str, graph: Graph) -> Any:
    if kind == "d" and suffix in _NUMBERS:
        made = float(body) if suffix in "df" else Decimal(body) if suffix == "m" else int(body)
        return _NUMBERS[suffix](made)
    if kind in ("v", "e", "vp"):
        found = {"v": _vertex, "e": _edge, "vp": _property}[kind](body, graph)
        return found.id if suffix == "id" else str(found.id) if suffix == "sid" else found
    if kind in ("l", "s", "p"):
        items = [value(part, graph) for part in _parts(body)]
        return {"l": list, "s": frozenset_like, "p": lambda x: Tabled(tuple(x))}[kind](items)
    if kind == "m":
        return _map(json.loads(body), graph)
    if kind == "t":
        return T[body]
    if kind == "D":
        return {"from": Direction.OUT, "to": Direction.IN}.get(body) or Direction[body]
    if kind == "M":
        return Merge[re.sub(r"([A-Z])", r"_\1", body).lower()]
    if kind == "str":
        return body
    if kind == "dt":
        made = datetime.fromisoformat(body)
        return made if made.tzinfo else made.replace(tzinfo=UTC)
    if kind == "uuid":
        return UUID(body)
    return text


class Setlike(list[Any]):
    """A set as a table writes it."""


def frozenset_like(items: list[Any]) -> Setlike:
    """The items as a set that may hold anything."""
    return Setlike(items)


def _map(found: dict[str, Any], graph: Graph) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for key, held in found.items():
        name = value(key, graph)
        if isinstance(name, list):
            name = frozenset(name) if isinstance(name, Setlike) else tuple(name)
        made[name] = value(held, graph)
    return made


def _parts(body: str) -> list[str]:
    """The parts between commas that stand in no bracket."""
    parts, depth, last = [], 0, 0
    for place, sign in enumerate(body):
        depth += (sign in "[{") - (sign in "]}")
        if sign == "," and depth == 0:
            parts.append(body[last:place])
            last = place + 1
    return [*parts, body[last:]] if body else []


def _vertex(name: str, graph: Graph) -> Any:
    for vertex in graph.vertices.values():
        if name in [str(held) for held in vertex.values("name")]:
            return vertex
    for vertex in graph.vertices.values():
        if str(vertex.id) == name:
            return vertex
    raise LookupError(f"no vertex {name}")


def _edge(text: str, graph: Graph) -> Any:
    match = re.fullmatch(r"(.*)-(.*)->(.*)", text)
    if match is None:
        raise LookupError(f"no edge {text}")
    out, label, in_ = match.groups()
    for edge in graph.edges.values():
        ends = (str(edge.out.value("name")), edge.label, str(edge.in_.value("name")))
        if ends == (out, label, in_):
            return edge
    raise LookupError(f"no edge {text}")


def _property(text: str, graph: Graph) -> Any:
    match = re.fullmatch(r"(.*)-(.*)->(.*)", text)
    if match is None:
        raise LookupError(f"no vertex property {text}")
    wanted = value(match[3], graph)
    for cell in _vertex(match[1], graph).cells(match[2]):
        if cell.value == wanted:
            return cell
    raise LookupError(f"no vertex property {text}")
