"""Ports from annotations, and which types fit."""

from __future__ import annotations

import typing
from collections import namedtuple
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Optional, Protocol, TypedDict, Union

import numpy as np
import numpy.typing as npt
import pytest

from twingraph_nb.source.ports import Port, compatible, input_ports, output_ports


class Cleaned(NamedTuple):
    rows: list[int]
    dropped: int


class Stats(TypedDict):
    mean: float
    count: int


Plain = namedtuple("Plain", "x y")


class Sized(Protocol):
    def size(self) -> int: ...


def ports(function: Any) -> list[str]:
    return [str(port) for port in output_ports(function)]


def test_named_results_give_a_port_for_each_field() -> None:
    def a() -> Cleaned: ...  # type: ignore[empty-body]
    def b() -> Stats: ...  # type: ignore[empty-body]
    def c() -> Plain: ...  # type: ignore[empty-body]
    def d() -> tuple[int, int]: ...  # type: ignore[empty-body]
    def e(): ...  # type: ignore[no-untyped-def]

    assert ports(a) == ["rows: list[int]", "dropped: int"]
    assert ports(b) == ["mean: float", "count: int"]
    assert ports(c) == ["x", "y"]
    assert ports(d) == ["value: tuple[int, int]"]
    assert ports(e) == ["value"]


def test_streams_give_a_list() -> None:
    def a() -> Iterator[int]:
        yield 1

    async def b() -> AsyncIterator[str]:
        yield ""

    assert ports(a) == ["value: list[int]"]
    assert ports(b) == ["value: list[str]"]


def test_inputs_keep_defaults_and_kinds() -> None:
    def f(a: int, b="x", *rest: int, k: Optional[str] = None, **more): ...  # type: ignore[no-untyped-def]  # noqa: UP045

    assert input_ports(f) == (
        Port("a", int),
        Port("b", Any),
        Port("rest", int, variadic="*"),
        Port("k", Optional[str], keyword_only=True),  # noqa: UP045
        Port("more", Any, variadic="**"),
    )
    assert [p.required for p in input_ports(f)] == [True, False, False, False, False]


def test_annotation_that_does_not_exist_says_nothing() -> None:
    def f(a: NoSuchType, b: int) -> NoSuchType: ...  # type: ignore[name-defined]  # noqa: F821

    assert [p.type for p in input_ports(f)] == [Any, int]
    assert ports(f) == ["value"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (int, float),
        (bool, int),
        (int, int | str),
        (Optional[int], int | None),  # noqa: UP045
        (list[int], list),
        (list[int], Sequence[int]),
        (list[int], Sequence[float]),
        (dict[str, int], Mapping[str, int]),
        (Annotated[int, "m"], int),
        (int, Annotated[float, "m"]),
        (Literal["a", "b"], str),
        (Stats, dict),
        (Stats, Mapping[str, Any]),
        (np.ndarray, np.ndarray),
        (npt.NDArray[np.float64], np.ndarray),
        (tuple[int, ...], tuple[int, int]),
        (int, typing.TypeVar("T")),
        (int, Sized),
        (int, "ForwardRef"),
        (Union[int, str], object),  # noqa: UP007
        (None, type(None)),
    ],
)
def test_fitting_types(given: object, wanted: object) -> None:
    assert compatible(given, wanted)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (str, int),
        (float, int),
        (int | str, int),
        (Optional[int], int),  # noqa: UP045
        (list[str], list[int]),
        (dict[str, int], dict[str, str]),
        (list[int], np.ndarray),
        (Annotated[str, "m"], int),
        (Literal[1], str),
        (list, tuple),
        (None, int),
    ],
)
def test_types_that_cannot_fit(given: object, wanted: object) -> None:
    assert not compatible(given, wanted)
