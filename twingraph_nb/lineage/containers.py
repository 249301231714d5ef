"""Values that Gremlin has and Python has not: entries of maps, bags, ordered sets, trees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from gremlin_python.structure.graph import Path

from twingraph_nb.lineage.elements import Edge, Element, Property, Vertex, VertexProperty
from twingraph_nb.lineage.numbers import kind_of
from twingraph_nb.lineage.problems import NotSupported

__all__ = [
    "MISSING",
    "Bag",
    "Entry",
    "Tree",
    "Uniques",
    "is_collection",
    "is_list",
    "is_set",
    "items_of",
    "key_of",
    "plain",
    "put",
]


class _Missing:
    def __repr__(self) -> str:
        return "<missing>"


MISSING: Final = _Missing()
"""What a modulator gives that produces nothing; `None` is Gremlin's null, a value."""


class Entry:
    """One entry of a map."""

    __slots__ = ("key", "value")

    def __init__(self, key: object, value: object) -> None:
        self.key, self.value = key, value

    def __repr__(self) -> str:
        return f"{self.key}={self.value}"


class Bag(list[object]):
    """The values that aggregate() collects: a list to those who see it, without an order."""


class Uniques:
    """A set that keeps its order and takes any value; 1 and 1.0 are two."""

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[object] = ()) -> None:
        self._items: dict[object, object] = {}
        for item in items:
            self._items.setdefault(key_of(item), item)

    def add(self, item: object) -> bool:
        """Take a value in; whether it is new."""
        key = key_of(item)
        if key in self._items:
            return False
        self._items[key] = item
        return True

    def __iter__(self) -> Iterator[object]:
        return iter(self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item: object) -> bool:
        return key_of(item) in self._items

    def __repr__(self) -> str:
        return "{" + ", ".join(map(repr, self)) + "}"


class Tree(dict[object, "Tree"]):
    """What tree() gives: object -> the tree below it."""

    def grown(self, objects: Iterable[object]) -> None:
        """Add the branch of one path."""
        tree = self
        for item in objects:
            item = hashable(item)
            if item not in tree:
                tree[item] = Tree()
            tree = tree[item]


def is_list(value: object) -> bool:
    """Whether it is a list in Gremlin's eyes."""
    return isinstance(value, list | tuple)


def is_set(value: object) -> bool:
    """Whether it is a set in Gremlin's eyes."""
    return isinstance(value, Uniques | set | frozenset)


def is_collection(value: object) -> bool:
    """Whether it is a list or a set."""
    return isinstance(value, list | tuple | Uniques | set | frozenset)


def items_of(value: object) -> list[object] | None:
    """The items of a list, a set or a path; None when it is none of them."""
    if is_collection(value):
        return list(value)  # type: ignore[call-overload, no-any-return]
    return list(value.objects) if isinstance(value, Path) else None


def key_of(value: object) -> object:
    """What stands for a value in a hash: equal for equivalent values, distinct across types."""
    kind = type(value)
    if kind is str or value is None or isinstance(value, Element):
        return value
    if kind is bool:
        return ("?", value)
    number = kind_of(value)
    if number:
        return (number, value if value == value else "NaN")
    if isinstance(value, list | tuple):
        return ("[", tuple(key_of(item) for item in value))
    if is_set(value):
        return ("{", frozenset(key_of(item) for item in value))  # type: ignore[attr-defined]
    if isinstance(value, Mapping):
        return (":", frozenset((key_of(k), key_of(v)) for k, v in value.items()))
    if isinstance(value, Entry):
        return ("=", key_of(value.key), key_of(value.value))
    if isinstance(value, Property):
        return ("p", value.key, key_of(value.value))
    if isinstance(value, Path):
        return ("path", tuple(key_of(o) for o in value.objects))
    try:
        hash(value)
    except TypeError:
        return ("#", id(value))
    return (kind, value)


def hashable(value: object) -> object:
    """The value in a form that a dictionary takes as its key."""
    if isinstance(value, list | tuple):
        return tuple(hashable(item) for item in value)
    if is_set(value):
        return frozenset(hashable(item) for item in value)  # type: ignore[attr-defined]
    if isinstance(value, Mapping):
        return Frozen((hashable(k), hashable(v)) for k, v in value.items())
    if isinstance(value, Entry):
        return Frozen([(hashable(value.key), hashable(value.value))])
    if isinstance(value, Path):
        return FrozenPath(value.labels, value.objects)
    return value


class Frozen(dict[object, object]):
    """A map that is the key of another."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self))


class FrozenPath(Path):  # type: ignore[misc, unused-ignore]
    """A path that is a key of a map."""

    def __hash__(self) -> int:
        return hash(key_of(self))


def put(mapping: dict[object, object], key: object, value: object) -> None:
    """Set an entry of a map.

    Raises:
        NotSupported: the map has a key that Python takes for the same, and Gremlin does not.
    """
    key = hashable(key)
    if key in mapping and key_of(key) not in {key_of(k) for k in mapping if k == key}:
        raise NotSupported(
            "group", f"{key!r} and an equal key of another type cannot both be keys of one map"
        )
    mapping[key] = value


def plain(value: object) -> object:
    """The value as gremlinpython gives results: entries as maps, sets and bags as Python's."""
    kind = type(value)
    if kind is str or kind is int or value is None or isinstance(value, Vertex | Edge):
        return value
    if isinstance(value, VertexProperty | Property):
        return value
    if isinstance(value, Tree):
        return value
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if is_set(value):
        return _plain_set([plain(item) for item in value])  # type: ignore[attr-defined]
    if isinstance(value, Entry):
        return {hashable(value.key): plain(value.value)}
    if isinstance(value, Path):
        return Path(list(value.labels), [plain(item) for item in value.objects])
    return value


def _plain_set(items: list[object]) -> object:
    try:
        found = set(items)
    except TypeError:
        return items
    return found if len(found) == len(items) else items
