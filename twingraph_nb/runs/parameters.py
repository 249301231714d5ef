"""What a notebook declares as its parameters, and whether given values fit.

The cell tagged ``parameters`` is read, never run. A type comes from the annotation
(``n: int = 10``) or from the default (``n = 10``).
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from twingraph_nb.errors import NotebookError, suggestion
from twingraph_nb.source.parsed import parse

__all__ = ["Cell", "Parameter", "check", "converted", "declared"]

Cell = Mapping[str, object]
"""A notebook cell as nbformat gives it: cell_type, source, metadata."""

_BASES = {
    "int": (int,),
    "float": (int, float),
    "complex": (int, float, complex),
    "str": (str,),
    "bool": (bool,),
    "bytes": (bytes,),
    "list": (list,),
    "List": (list,),
    "Sequence": (list, tuple),
    "tuple": (list, tuple),
    "Tuple": (list, tuple),
    "dict": (dict,),
    "Dict": (dict,),
    "Mapping": (dict,),
    "set": (set, list),
    "None": (type(None),),
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a notebook.

    types: what it takes, or None for anything. choices: the only values it takes, if not empty.
    declared: its type as text, "" if unknown. default: the default's source text.
    annotated: the type was written, not taken from the default.
    """

    name: str
    types: tuple[type, ...] | None = None
    choices: tuple[object, ...] = ()
    declared: str = ""
    default: str = ""
    annotated: bool = False

    def fits(self, value: object) -> bool:
        """True when the value may be given."""
        if self.types is None:
            return True
        if any(value == choice and type(value) is type(choice) for choice in self.choices):
            return True
        if isinstance(value, bool):  # bool is an int to Python, hardly ever to people
            return bool in self.types
        return isinstance(value, self.types)


def declared(cells: Iterable[Cell]) -> dict[str, Parameter] | None:
    """Give the parameters of the first cell tagged ``parameters``; None when there is none.

    Raises:
        NotebookError: that cell is not valid Python.
    """
    cell = next((c for c in cells if "parameters" in _tags(c)), None)
    if cell is None:
        return None
    lines = str(cell["source"]).splitlines()
    text = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in lines)
    try:
        body = parse(text).body
    except SyntaxError as exc:
        raise NotebookError(
            f"the cell tagged 'parameters' is not valid Python: line {exc.lineno}: {exc.msg}"
        ) from None
    found: dict[str, Parameter] = {}
    for statement in body:
        for name, annotation, default in _assigned(statement):
            found[name] = _parameter(name, annotation, default)
    return found


def check(
    cells: Iterable[Cell],
    given: Mapping[str, object],
    *,
    notebook: str,
    language: str = "python",
) -> None:
    """Make sure that the notebook takes the values. Only Python notebooks can be looked into.

    Raises:
        NotebookError: no such parameter, a wrong type, or no cell tagged ``parameters``.
    """
    if not given or language.lower() != "python":
        return
    known = _known(cells, notebook, next(iter(given)))
    for name, value in given.items():
        parameter = known.get(name)
        if parameter is None:
            raise _unknown(notebook, name, known)
        if not parameter.fits(value):
            raise _misfit(notebook, parameter, value)


def converted(
    cells: Iterable[Cell],
    texts: Sequence[tuple[str, str]],
    *,
    notebook: str,
    language: str = "python",
) -> dict[str, object]:
    """Give the values of parameters written as text, read as what the notebook declares.

    ``10`` is an int, but text for a parameter declared as ``str``.

    Raises:
        NotebookError: no such parameter, a wrong type, or no cell tagged ``parameters``.
    """
    if not texts or language.lower() != "python":
        return {name: _readings(text)[0] for name, text in texts}
    known = _known(cells, notebook, texts[0][0])
    values: dict[str, object] = {}
    for name, text in texts:
        parameter = known.get(name)
        if parameter is None:
            raise _unknown(notebook, name, known)
        readings = _readings(text)
        values[name] = next((v for v in readings if parameter.fits(v)), readings[0])
        if not parameter.fits(values[name]):
            raise _misfit(notebook, parameter, values[name])
    return values


def _known(cells: Iterable[Cell], notebook: str, asked: str) -> dict[str, Parameter]:
    known = declared(cells)
    if known is None:
        raise NotebookError(
            f"{notebook} takes no parameters, so {asked!r} cannot be given: tag the cell that "
            f"sets its defaults with 'parameters' (in JupyterLab: Property Inspector, Cell Tags)"
        )
    return known


def _unknown(notebook: str, name: str, known: Mapping[str, Parameter]) -> NotebookError:
    listed = ", ".join(known) if known else "none"
    return NotebookError(
        f"{notebook} has no parameter {name!r}{suggestion(name, known)}; it has: {listed}"
    )


def _misfit(notebook: str, parameter: Parameter, value: object) -> NotebookError:
    said = f"{notebook}: parameter {parameter.name!r} is {parameter.declared}"
    if parameter.default:
        said += f" (default {parameter.default})"
    said += f", got {value!r}"
    if not parameter.choices:
        said += f" ({type(value).__name__})"
    if not parameter.annotated:
        kind = type(value).__name__
        said += (
            f"; to allow it, annotate the parameter in its cell: "
            f"`{parameter.name}: {parameter.declared} | {kind} = {parameter.default}`"
        )
    return NotebookError(said)


def _readings(text: str) -> list[object]:
    """What the text can mean, most likely meaning first; the text itself last."""
    plain = {"True": True, "False": False, "None": None}
    readings: list[object] = [plain[text]] if text in plain else []
    for read in (int, float, json.loads, ast.literal_eval):
        try:
            readings.append(read(text))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    # a bare word, list or dict is text unless the notebook declares otherwise
    if readings and isinstance(readings[0], (str, list, dict, tuple, set, bytes)):
        return [text, *readings]
    return [*readings, text]


def _assigned(
    statement: ast.stmt,
) -> Iterable[tuple[str, ast.expr | None, ast.expr | None]]:
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        yield statement.target.id, statement.annotation, statement.value
    elif isinstance(statement, ast.Assign):
        for target in statement.targets:
            if isinstance(target, ast.Name):
                yield target.id, None, statement.value
            elif isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple):
                for name, value in zip(target.elts, statement.value.elts, strict=False):
                    if isinstance(name, ast.Name):
                        yield name.id, None, value


def _parameter(name: str, annotation: ast.expr | None, default: ast.expr | None) -> Parameter:
    shown = ast.unparse(default) if default is not None else ""
    if annotation is not None:
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = parse(annotation.value, "eval").body
        types, choices = _meant(annotation)
        return Parameter(name, types, choices, ast.unparse(annotation), shown, annotated=True)
    try:
        value = ast.literal_eval(default) if default is not None else None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        value = None
    if value is None:
        return Parameter(name, default=shown)
    kind = type(value).__name__
    return Parameter(name, _BASES.get(kind), declared=kind, default=shown)


def _meant(node: ast.expr) -> tuple[tuple[type, ...] | None, tuple[object, ...]]:
    """The types and the literal choices of an annotation; (None, ()) when not understood."""
    if isinstance(node, ast.Constant) and node.value is None:
        return (type(None),), ()
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _either([node.left, node.right])
    if isinstance(node, ast.Subscript):
        head = _last_name(node.value)
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if head == "Literal":
            values = tuple(e.value for e in inner if isinstance(e, ast.Constant))
            return ((), values) if len(values) == len(inner) else (None, ())
        if head == "Optional":
            return _either([*inner, ast.Constant(None)])
        if head == "Union":
            return _either(inner)
        if head == "Annotated":
            return _meant(inner[0])
        return _BASES.get(head), ()
    return _BASES.get(_last_name(node)), ()


def _either(nodes: Sequence[ast.expr]) -> tuple[tuple[type, ...] | None, tuple[object, ...]]:
    parts = [_meant(node) for node in nodes]
    if any(types is None for types, _ in parts):
        return None, ()
    return (
        tuple(t for types, _ in parts for t in types or ()),
        tuple(c for _, choices in parts for c in choices),
    )


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _tags(cell: Cell) -> Sequence[str]:
    metadata = cell.get("metadata")
    tags = metadata.get("tags", ()) if isinstance(metadata, Mapping) else ()
    return tags if isinstance(tags, (list, tuple)) else ()
