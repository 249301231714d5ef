"""Finding the tasks among the arguments of a call, and putting their values in."""

from __future__ import annotations

from collections.abc import Mapping

from twingraph_nb.errors import PortTypeError
from twingraph_nb.graph.run import Run
from twingraph_nb.graph.task import Ref, Task
from twingraph_nb.source.ports import ANY, Port, compatible, type_text

__all__ = ["Need", "check_types", "needs_of", "resolve"]

Need = tuple[Task, str, str]
"""(task that is needed, its output port or "" for the whole result, input port or "")"""

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})
_CONTAINERS = (list, tuple, dict, set, frozenset)


def needs_of(bound: Mapping[str, object]) -> list[Need]:
    """Give what the arguments need, in order: tasks, outputs and runs, also inside containers.

    Looks into lists, tuples, dicts and sets; not into objects of other types.
    """
    needs: list[Need] = []
    for port, value in bound.items():
        kind = type(value)
        if kind in _ATOMS:
            continue
        if kind is Task:
            needs.append((value, "", port))  # type: ignore[arg-type]
        elif kind is Ref:
            needs.append((value.task, value.port, port))  # type: ignore[attr-defined]
        elif kind is Run or isinstance(value, _CONTAINERS):
            _search(value, port, needs, set())
    return needs


def _search(value: object, port: str, needs: list[Need], seen: set[int]) -> None:
    kind = type(value)
    if kind is Task:
        needs.append((value, "", port))  # type: ignore[arg-type]
    elif kind is Ref:
        needs.append((value.task, value.port, port))  # type: ignore[attr-defined]
    elif kind is Run:
        needs.append((value.root, "", port))  # type: ignore[attr-defined]
    elif isinstance(value, _CONTAINERS):
        if id(value) in seen:
            return
        seen.add(id(value))
        for item in value.values() if isinstance(value, dict) else value:
            inner = type(item)
            if inner is Task:
                needs.append((item, "", port))
            elif inner not in _ATOMS:
                _search(item, port, needs, seen)


def resolve(value: object) -> object:
    """Put the values of finished tasks where the tasks stand; anything else is given as it is.

    A container that holds a task is copied, others are passed by reference.
    Raises:
        Exception: what a task in it raised.
    """
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is Task or kind is Ref or kind is Run:
        return value.result()  # type: ignore[attr-defined]
    if isinstance(value, _CONTAINERS):
        found: list[Need] = []
        _search(value, "", found, set())
        return _rebuilt(value) if found else value
    return value


def _rebuilt(value: object) -> object:
    kind = type(value)
    if kind is Task or kind is Ref or kind is Run:
        return value.result()  # type: ignore[attr-defined]
    if isinstance(value, dict):
        return {k: _rebuilt(v) for k, v in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return kind(*[_rebuilt(v) for v in value])
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [
            v if type(v) in _ATOMS else v.result() if type(v) is Task else _rebuilt(v)
            for v in value
        ]
        return items if kind is list else tuple(items) if isinstance(value, tuple) else set(items)
    return value


def check_types(name: str, inputs: tuple[Port, ...], bound: Mapping[str, object]) -> None:
    """See that each output fits the input it is given to.

    Raises:
        PortTypeError: one does not.
    """
    for port in inputs:
        if port.type is ANY or port.variadic:
            continue
        value = bound.get(port.name)
        kind = type(value)
        if kind is Task:
            given, source = _whole(value), value.name  # type: ignore[arg-type, attr-defined]
        elif kind is Ref:
            given, source = _part(value), repr(value).split(",")[0][1:]  # type: ignore[arg-type]
        else:
            continue
        if not compatible(given, port.type):
            wanted, gives = type_text(port.type), type_text(given)
            raise PortTypeError(name, port.name, wanted, gives, source)


def _whole(task: Task) -> object:
    if task.form == "pipeline":
        return ANY
    outputs = task.component.outputs
    single = outputs[0].type if len(outputs) == 1 else ANY
    if task.form == "map":
        return list if single is ANY else list[single]  # type: ignore[valid-type]
    return single


def _part(ref: Ref) -> object:
    if ref.task.form != "call":
        return _whole(ref.task)
    return next((p.type for p in ref.task.component.outputs if p.name == ref.port), ANY)
