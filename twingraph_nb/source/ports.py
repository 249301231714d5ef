"""Ports from annotations, and whether two of them fit."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

__all__ = ["ANY", "REQUIRED", "Port", "compatible", "input_ports", "output_ports", "type_text"]

ANY: object = typing.Any
_STARS: Mapping[object, str] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}
_NUMBERS = {(int, float), (int, complex), (float, complex), (bool, int), (bool, float)}


class _Required:
    def __repr__(self) -> str:
        return "<required>"


REQUIRED = _Required()
"""The default of an input port that has none."""


@dataclass(frozen=True, slots=True)
class Port:
    """A named, typed input or output.

    `type` is an annotation (`typing.Any` if unknown). `variadic` is "*" or "**" for the ports
    that take any number of arguments, else "".
    """

    name: str
    type: object = ANY
    default: object = field(default=REQUIRED, compare=False)
    variadic: str = ""
    keyword_only: bool = False

    @property
    def required(self) -> bool:
        """True when a call must give it."""
        return self.default is REQUIRED and not self.variadic

    def __str__(self) -> str:
        text = f"{self.variadic}{self.name}"
        return text if self.type is ANY else f"{text}: {type_text(self.type)}"


def input_ports(function: Callable[..., object]) -> tuple[Port, ...]:
    """Give a port for each parameter of the function, in order."""
    hints = _hints(function)
    ports = []
    for p in inspect.signature(function).parameters.values():
        ports.append(
            Port(
                p.name,
                hints.get(p.name, ANY),
                REQUIRED if p.default is p.empty else p.default,
                _STARS.get(p.kind, ""),
                p.kind is p.KEYWORD_ONLY,
            )
        )
    return tuple(ports)


def output_ports(function: Callable[..., object]) -> tuple[Port, ...]:
    """Give the ports of the result.

    A NamedTuple or TypedDict gives one port a field, anything else the single port ``value``.
    A (async) generator's port has the type ``list[item]``.
    """
    result = _hints(function).get("return", ANY)
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        items = typing.get_args(result)
        return (Port("value", list[items[0]] if items else list),)  # type: ignore[valid-type]
    return fields_of(result) or (Port("value", result),)


def fields_of(result: object) -> tuple[Port, ...]:
    """Give a port for each field of a NamedTuple or TypedDict type, else nothing."""
    if typing.is_typeddict(result):
        return tuple(Port(k, v) for k, v in typing.get_type_hints(result).items())
    if isinstance(result, type) and issubclass(result, tuple) and hasattr(result, "_fields"):
        hints = typing.get_type_hints(result)
        return tuple(Port(k, hints.get(k, ANY)) for k in result._fields)
    return ()


def _hints(function: Callable[..., object]) -> Mapping[str, object]:
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        raw = getattr(function, "__annotations__", {})
        names = getattr(function, "__globals__", {})
        return {k: _hint(k, v, names) for k, v in raw.items()}


def _hint(name: str, annotation: object, names: dict[str, object]) -> object:
    """One annotation alone; one that names something not there (yet) says nothing about types."""
    alone = types.SimpleNamespace(__annotations__={name: annotation})
    try:
        return typing.get_type_hints(alone, names)[name]
    except (NameError, TypeError, AttributeError):
        return ANY


def type_text(annotation: object) -> str:
    """Give an annotation as a user would write it."""
    if annotation is ANY:
        return "Any"
    if annotation is type(None):
        return "None"
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "")


def compatible(given: object, wanted: object) -> bool:
    """Tell whether a value of type `given` may go where `wanted` is asked.

    Unknown types fit everywhere; numbers widen as in PEP 484 (int -> float -> complex). Only
    certain mismatches are refused: anything not understood fits.
    """
    try:
        return _compatible(given, wanted)
    except TypeError:  # unhashable or exotic annotation
        return True


@lru_cache(maxsize=4096)
def _compatible(given: object, wanted: object) -> bool:
    if given is wanted or wanted in (ANY, object) or given is ANY:
        return True
    if _is_union(given):
        return all(_compatible(part, wanted) for part in typing.get_args(given))
    if _is_union(wanted):
        return any(_compatible(given, part) for part in typing.get_args(wanted))
    given, wanted = _bare(given), _bare(wanted)
    given_class, wanted_class = _class_of(given), _class_of(wanted)
    if given_class is None or wanted_class is None:
        return True
    if not (issubclass(given_class, wanted_class) or (given_class, wanted_class) in _NUMBERS):
        return False
    return _items_fit(typing.get_args(given), typing.get_args(wanted))


def _items_fit(given: tuple[object, ...], wanted: tuple[object, ...]) -> bool:
    if not given or not wanted or len(given) != len(wanted) or Ellipsis in given + wanted:
        return True
    return all(_compatible(g, w) for g, w in zip(given, wanted, strict=True))


def _is_union(annotation: object) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _bare(annotation: object) -> object:
    if annotation is None:
        return type(None)
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return typing.get_args(annotation)[0]
    return annotation


def _class_of(annotation: object) -> type | None:
    if typing.get_origin(annotation) is typing.Literal:
        kinds = {type(v) for v in typing.get_args(annotation)}
        return kinds.pop() if len(kinds) == 1 else None
    if typing.is_typeddict(annotation):
        return dict
    found = typing.get_origin(annotation) or annotation
    if not isinstance(found, type) or getattr(found, "_is_protocol", False):
        return None
    return found
