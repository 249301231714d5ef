"""Lazy values and references."""

from __future__ import annotations

from typing import NamedTuple, TypedDict

import pytest

from twingraph_nb import Task, component, pipeline
from twingraph_nb.errors import (
    ArgumentError,
    CycleError,
    LazyValueError,
    PortTypeError,
    WiringError,
)


class Parts(NamedTuple):
    rows: list[int]
    dropped: int


class Sizes(TypedDict):
    small: int
    large: int


@component()
def clean(raw: list[int], threshold: int = 2) -> Parts:
    kept = [x for x in raw if x >= threshold]
    return Parts(kept, len(raw) - len(kept))


@component()
def sizes(n: int) -> Sizes:
    return {"small": n, "large": n * 100}


@component()
def total(xs: list[int]) -> int:
    return sum(xs)


@component()
def text(s: str) -> str:
    return s


def test_outputs_of_a_named_tuple_are_ports() -> None:
    task = clean([1, 2, 3])
    assert task.result() == Parts([2, 3], 1)
    assert task.outputs["rows"] == [2, 3]
    assert task["outputs"]["dropped"] == 1
    assert dict(task.outputs) == {"rows": [2, 3], "dropped": 1}
    assert task["hash"] == task.hash


def test_outputs_of_a_typed_dict_are_ports() -> None:
    assert sizes(3).outputs["large"] == 300


def test_unknown_output_names_those_there_are() -> None:
    with pytest.raises(KeyError, match=r"clean has no output 'row' \(did you mean 'rows'\?\)"):
        clean([1]).outputs["row"]


def test_task_with_several_outputs_can_be_unpacked_and_passed_on() -> None:
    rows, _ = clean([1, 2, 3])
    assert total(rows).result() == 5


def test_tasks_inside_containers_become_edges() -> None:
    tasks = [total([1]), total([2])]

    @component()
    def deep(xs: object) -> object:
        return xs

    got = deep({"a": tasks, "b": (tasks[0], {"c": tasks[1]})}).result()
    assert got == {"a": [1, 2], "b": (1, {"c": 2})}


def test_argument_without_tasks_is_passed_by_reference() -> None:
    data = {"xs": [1, 2, 3]}

    @component()
    def same(d: object) -> object:
        return d

    assert same(data).result() is data


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (lambda t: t > 3, "in a comparison"),
        (lambda t: t == 3, "in a comparison"),
        (lambda t: 1 if t else 0, "as a condition"),
        (lambda t: t + 1, "in a computation"),
        (lambda t: len(t), r"with len\(\)"),
        (lambda t: list(t), "in a loop"),
        (lambda t: 1 in t, "with `in`"),
        (lambda t: int(t), "in a computation"),
    ],
)
def test_plain_use_of_a_lazy_value_says_what_to_write(use: object, said: str) -> None:
    @pipeline()
    def uses() -> object:
        return use(total([1]).outputs["value"])  # type: ignore[operator]

    with pytest.raises(LazyValueError, match=said) as caught:
        uses().result()
    assert 'write `total.outputs["value"].result()`, or `await' in str(caught.value)


def test_tasks_are_equal_only_to_themselves() -> None:
    one, two = total([1]), total([1])
    assert (one == two, one == one, one in [two, one]) == (False, True, True)


def test_missing_surplus_and_unknown_arguments_are_told_at_the_call() -> None:
    signature = r"the component is total\(xs: list\[int\]\) -> value: int"
    with pytest.raises(ArgumentError, match=rf"total: needs 'xs'; {signature}"):
        total()
    with pytest.raises(ArgumentError, match="total: takes 1 arguments, got 2"):
        total([1], 2)
    with pytest.raises(ArgumentError, match=r"total: has no input 'x' \(did you mean 'xs'\?\)"):
        total(x=[1])
    with pytest.raises(ArgumentError, match="total: got 'xs' twice"):
        total([1], xs=[2])


def test_wrong_port_type_is_found_when_wired() -> None:
    said = r"total: input 'xs' wants list\[int\], but text gives str; convert it in between"
    with pytest.raises(PortTypeError, match=said):
        total(text("x"))


def test_task_that_is_given_to_a_call_inside_itself_is_a_cycle() -> None:
    holder: list[Task] = []

    @component()
    def inner(x: object) -> object:
        return x

    @component()
    def outer() -> object:
        while not holder:
            pass
        return inner(holder[0]).result()

    holder.append(outer())
    with pytest.raises(CycleError, match="wait on each other: inner -> outer -> inner"):
        holder[0].result()


def test_parent_hash_takes_a_hash_a_task_or_a_list() -> None:
    order: list[str] = []

    @component()
    def step(name: str) -> None:
        order.append(name)

    first = step("a")
    second = step("b", parent_hash=first)
    third = step("c", parent_hash=[first["hash"], second])
    third.result()
    assert order == ["a", "b", "c"]


def test_unknown_parent_hash_is_refused() -> None:
    with pytest.raises(WiringError, match="total: no task of this session has the hash 'abc'"):
        total([1], parent_hash="abc")
