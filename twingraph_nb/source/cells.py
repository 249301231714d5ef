"""The cell of ``%%component`` and ``%%pipeline``, and the function that it becomes.

Line 1 of everything here is the magic line, so that line numbers are those the user sees.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from twingraph_nb.errors import AmbiguousCell, CellSyntaxError, DefinitionError, suggestion
from twingraph_nb.source.line import Line, Output, parameter_names
from twingraph_nb.source.parsed import parse
from twingraph_nb.source.text import segment

__all__ = ["Body", "Cell", "chosen_definition", "make_body", "read_cell", "streams", "syntax_error"]

_MAGIC_LINE = {"lineno": 1, "end_lineno": 1, "col_offset": 0, "end_col_offset": 0}


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell as Python: its text with the magic line turned into a comment, parsed.

    where: what the user calls it, "cell [3]". magic: "%%component" or "%%pipeline".
    """

    text: str
    tree: ast.Module
    where: str
    magic: str

    @property
    def definitions(self) -> tuple[ast.FunctionDef | ast.AsyncFunctionDef, ...]:
        """The functions the cell defines at its top level."""
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        return tuple(node for node in self.tree.body if isinstance(node, kinds))

    def text_of(self, node: ast.stmt) -> str:
        """The whole lines of a definition, decorators included."""
        return segment(self.text, node)


@dataclass(frozen=True, slots=True)
class Body:
    """The function that a whole cell becomes.

    text: its source; line n of it is line n of the cell. tree: the same, with the columns of
    the cell. outputs: in order; () where the result is the last expression. streams: it yields.
    """

    text: str
    tree: ast.Module
    outputs: tuple[Output, ...]
    streams: bool = False


def read_cell(text: str, *, where: str, magic: str) -> Cell:
    """Parse a cell.

    Args:
        text: the cell's Python; line 1 is the magic line as a comment.
    Raises:
        CellSyntaxError: it is not valid Python; the line is the cell's own.
    """
    try:
        return Cell(text, parse(text), where, magic)
    except SyntaxError as exc:
        raise syntax_error(exc, where=where, text=text) from None


def syntax_error(exc: SyntaxError, *, where: str, text: str) -> CellSyntaxError:
    """Turn Python's syntax error into ours, with the line as the cell has it."""
    lines = text.splitlines()
    line = min(exc.lineno or 1, len(lines) or 1)
    return CellSyntaxError(exc.msg, where=where, line=line, text=lines[line - 1] if lines else "")


def chosen_definition(cell: Cell, line: Line) -> ast.stmt | None:
    """Give the definition in the cell that becomes the component, None for the body form.

    Raises:
        DefinitionError: the line names something that the cell does not define.
    """
    if line.params is not None or line.outputs is not None:
        return None
    if not line.name:
        return cell.definitions[-1] if cell.definitions else None
    for node in reversed(cell.tree.body):
        if line.name in _names_bound_by(node):
            return node
    if not cell.definitions:
        return None
    defined = [node.name for node in cell.definitions]
    raise DefinitionError(
        f"{cell.magic} {line.name} ({cell.where}): the cell defines {', '.join(defined)}, not "
        f"{line.name!r}{suggestion(line.name, defined)}; name one of these, or make the whole "
        f"cell the function with a signature: {cell.magic} {line.name}() -> result"
    )


def streams(cell: Cell) -> bool:
    """Tell whether the cell itself yields."""
    return any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in _own_nodes(cell))


def make_body(
    cell: Cell,
    name: str,
    params: str,
    outputs: Sequence[Output],
    *,
    assigned: Collection[str],
    last_value: bool = False,
) -> Body:
    """Make one function of a whole cell.

    Args:
        outputs: what it returns: one bare, several as a named tuple.
        assigned: names the cell assigns.
        last_value: return the value of the last expression if there are no outputs.
    Raises:
        DefinitionError: an output is never assigned, or the cell returns by itself.
    """
    _refuse_return(cell, name)
    yields = streams(cell)
    _check_outputs(cell, name, params, outputs, assigned, yields)
    ending = "" if yields else _ending(name, outputs)
    statements = list(cell.tree.body)
    text = cell.text
    if last_value and not outputs and not yields:
        statements, text = _return_last(statements, text)
    head = f"{'async ' if _awaits(cell) else ''}def {name}({params}):"
    lines = text.splitlines()[1:]
    inside = _string_lines(cell.tree)
    shifted = [x if n in inside or not x.strip() else f"    {x}" for n, x in enumerate(lines, 2)]
    ends = [f"    {line}" for line in ending.splitlines()]
    filler = [] if statements or ends else ["    pass"]
    whole = "\n".join([head, *shifted, *ends, *filler]) + "\n"
    function = parse(f"{head} pass").body[0]
    assert isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
    # The result belongs to the arrow in the magic line: an output that was not assigned on this
    # path through the cell is shown there.
    function.body = [*statements, *parse(ending).body] or function.body
    for end in function.body[len(statements) :]:
        for node in ast.walk(end):
            for place in _MAGIC_LINE.keys() & set(node._attributes):
                setattr(node, place, _MAGIC_LINE[place])
    return Body(whole, ast.Module([function], []), tuple(outputs), yields)


def _names_bound_by(node: ast.stmt) -> set[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
        return {t.id for t in node.targets if isinstance(t, ast.Name)}
    return set()


def _own_nodes(cell: Cell) -> Iterator[ast.AST]:
    """The nodes of the cell itself, without those of functions in it."""
    inner = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
    stack: list[ast.AST] = list(cell.tree.body)
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, inner):
            stack.extend(ast.iter_child_nodes(node))


def _awaits(cell: Cell) -> bool:
    return any(
        isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith))
        or (isinstance(node, ast.comprehension) and bool(node.is_async))
        for node in _own_nodes(cell)
    )


def _refuse_return(cell: Cell, name: str) -> None:
    lines = [node.lineno for node in _own_nodes(cell) if isinstance(node, ast.Return)]
    if lines:
        raise DefinitionError(
            f"{cell.magic} {name} ({cell.where}, line {min(lines)}): `return` needs a "
            f"function; write `def {name}(...):` in the cell, or name the outputs in the "
            f"line: {cell.magic} {name}(...) -> result"
        )


def _check_outputs(
    cell: Cell,
    name: str,
    params: str,
    outputs: Sequence[Output],
    assigned: Collection[str],
    yields: bool,
) -> None:
    where = f"{cell.magic} {name} ({cell.where})"
    if yields and len(outputs) > 1:
        raise DefinitionError(
            f"{where}: a cell that yields has one output, the list of what it yields; "
            f"write: {cell.magic} {name}({params}) -> {outputs[0]}"
        )
    have = {*assigned, *parameter_names(params)}
    for out in () if yields else outputs:
        if out.name not in have:
            left = [str(o) for o in outputs if o.name in have] or list(assigned)[:3] or ["result"]
            raise AmbiguousCell(
                f"output {out.name!r} is never assigned in the cell"
                + suggestion(out.name, assigned),
                write=f"{cell.magic} {name}({params}) -> {', '.join(left)}",
                where=where,
            )


def _ending(name: str, outputs: Sequence[Output]) -> str:
    if not outputs:
        return ""
    if len(outputs) == 1:
        return f"return {outputs[0].name}"
    kind = "".join(part.capitalize() for part in name.split("_")) + "Outputs"
    given = ", ".join(f"{o.name}={o.name}" for o in outputs)
    return (
        f"from twingraph_nb.outputs import outputs as _outputs\nreturn _outputs({kind!r}, {given})"
    )


def _return_last(statements: list[ast.stmt], text: str) -> tuple[list[ast.stmt], str]:
    last = statements[-1] if statements else None
    if not isinstance(last, ast.Expr):
        return statements, text
    given = ast.copy_location(ast.Return(last.value), last)
    lines = text.splitlines()
    line = lines[last.lineno - 1].encode()
    lines[last.lineno - 1] = (
        line[: last.col_offset] + b"return " + line[last.col_offset :]
    ).decode()
    return [*statements[:-1], given], "\n".join(lines)


def _string_lines(tree: ast.Module) -> set[int]:
    """Lines that begin inside a string: to indent them would change it."""
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Constant, ast.JoinedStr)):
            inside.update(range(node.lineno + 1, (node.end_lineno or node.lineno) + 1))
    return inside
