"""What a ``%%component`` or ``%%pipeline`` cell makes: cell text in, component and card out."""

from __future__ import annotations

import ast
import contextlib
import importlib
import linecache
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from IPython.core.compilerop import code_name
from IPython.core.interactiveshell import InteractiveShell

from twingraph_nb.component import (
    Component,
    Pipeline,
    make_component,
    make_pipeline,
    shelf,
)
from twingraph_nb.errors import AmbiguousCell, ArgumentError, DefinitionError
from twingraph_nb.magics.named import with_objects
from twingraph_nb.magics.quiet import only_user_frames
from twingraph_nb.platform_choice import check_platform, usual_platform
from twingraph_nb.policy import KNOWN, RunOptions, read_options, read_run_options
from twingraph_nb.source.cells import Body, Cell, chosen_definition, make_body, read_cell, streams
from twingraph_nb.source.cells import syntax_error as cell_syntax_error
from twingraph_nb.source.infer import infer_inputs, infer_outputs, names_of, written
from twingraph_nb.source.line import Line, Output, read_line
from twingraph_nb.source.ports import ANY, Port
from twingraph_nb.source.text import Source, normalised

__all__ = [
    "COMPONENT_FLAGS",
    "COMPONENT_OPTIONS",
    "PIPELINE_OPTIONS",
    "Made",
    "define_component",
    "define_pipeline",
    "start",
]

COMPONENT_OPTIONS = ("platform", "name", "lang", *KNOWN)
COMPONENT_FLAGS = ("run",)
PIPELINE_OPTIONS = tuple(RunOptions.__dataclass_fields__)
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Made:
    """What a cell defined. inferred: the signature was not given but found."""

    made: Component | Pipeline
    inferred: bool
    run: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """A cell in its shell. filename: the name it is compiled under."""

    ip: InteractiveShell
    cell: Cell
    filename: str
    number: int


def define_component(ip: InteractiveShell, line: str, text: str) -> Made:
    """Make a component of a cell and bind it in the notebook.

    Raises:
        DefinitionError: the line or the cell cannot become a component; nothing was run.
    """
    _connect()
    asked = read_line(line, magic="%%component", known=COMPONENT_OPTIONS, flags=COMPONENT_FLAGS)
    options = with_objects(asked.options or {}, ip.user_ns, f"%%component {asked.name}".strip())
    platform, name = options.pop("platform", None), options.pop("name", None)
    lang = str(options.pop("lang", "python"))
    _check_options(asked, options, platform)
    if lang != "python":
        from twingraph_nb.magics.foreign import made_of_code  # only for who uses them

        made = made_of_code(
            ip,
            asked,
            text,
            line=line,
            language=lang,
            name=str(name) if name else None,
            platform=str(platform or "local"),
            options=options,
        )
        ip.user_ns[made.name] = made
        return Made(made, False, "run" in asked.flags)
    place = _place(ip, "%%component", line, text)
    chosen = chosen_definition(place.cell, asked)
    wanted = str(name) if name else None
    if chosen is not None:
        with _or_as_before(ip, _name_of(chosen)):
            thing, source = _defined(place, chosen)
            made = _from_definition(thing, source, wanted, platform, options)
    else:
        body = _body(place, asked)
        with _or_as_before(ip, _name_of(body.tree.body[0])):
            function, source = _function(place, body)
            made = make_component(
                function,
                name=wanted,
                platform=str(platform or usual_platform(options)),
                options=options,
                source=source,
                outputs=_ports(place, body),
            )
    ip.user_ns[made.name] = made
    inferred = chosen is None and (asked.params is None or asked.outputs is None)
    return Made(made, inferred, "run" in asked.flags)


def define_pipeline(ip: InteractiveShell, line: str, text: str) -> Made:
    """Make a pipeline of a cell and bind it in the notebook.

    Raises:
        DefinitionError: the line or the cell cannot become a pipeline; nothing was run.
    """
    _connect()
    asked = read_line(line, magic="%%pipeline", known=PIPELINE_OPTIONS, flags=COMPONENT_FLAGS)
    read_run_options(asked.options or {}, where=f"%%pipeline {asked.name}".strip())
    place = _place(ip, "%%pipeline", line, text)
    chosen = chosen_definition(place.cell, asked)
    with _or_as_before(ip, _name_of(chosen) if chosen is not None else asked.name):
        made = _pipeline(place, chosen, asked)
    ip.user_ns[made.name] = made
    return Made(made, False, "run" in asked.flags)


def _pipeline(place: _Place, chosen: ast.stmt | None, asked: Line) -> Pipeline:
    if chosen is not None:
        thing, source = _defined(place, chosen)
        function = thing.function if isinstance(thing, (Pipeline, Component)) else thing
    else:
        if not asked.name:
            raise DefinitionError(
                f"%%pipeline ({place.cell.where}): give it a name: %%pipeline etl"
            )
        names = names_of(place.cell.tree.body)
        body = make_body(
            place.cell,
            asked.name,
            asked.params or "",
            asked.outputs or (),
            assigned=sorted(names.every),
            last_value=True,
        )
        function, source = _function(place, body)
    return make_pipeline(
        function,  # type: ignore[arg-type]
        name=asked.name or None,
        options=asked.options,
        source=source,
    )


def start(made: Component | Pipeline, held: Mapping[str, object]) -> object:
    """Run it once with its defaults; inputs without one take the notebook's value of that name.

    Args:
        held: what the notebook holds.
    Returns:
        The task or run, at once.
    Raises:
        ArgumentError: an input has no default and the notebook has no such name.
    """
    wanted = [p.name for p in made.inputs if p.required]
    missing = [name for name in wanted if name not in held]
    if missing:
        inputs = ", ".join(map(str, made.inputs))
        raise ArgumentError(
            made.name,
            f"--run needs a default or a value in the notebook for {', '.join(missing)}",
            f"({inputs})",
        )
    return made(**{name: held[name] for name in wanted})


def _connect() -> None:
    """See to it that calls find their session; loaded late to keep ``%load_ext`` fast."""
    importlib.import_module("twingraph_nb.session")


def _check_options(asked: Line, options: Mapping[str, object], platform: object) -> None:
    """Refuse bad options before anything of the cell runs."""
    where = f"%%component {asked.name}".strip()
    chosen = check_platform(str(platform or "local"), where=where)
    read_options(options, where=where, platform=chosen)


def _place(ip: InteractiveShell, magic: str, line: str, text: str) -> _Place:
    """Parse a cell, and let IPython remember its text for tracebacks."""
    first = f"{magic} {line}".rstrip()
    # The comment in place of the magic keeps line numbers true and the cell parseable.
    whole: str = ip.transform_cell(f"# {first}\n{text}")  # type: ignore[no-untyped-call]
    number: int = ip.displayhook.prompt_count  # the count itself moves on earlier in IPython 9
    where = f"cell [{number}]"
    cell = read_cell(whole, where=where, magic=magic)
    filename = ip.compile.cache(f"# {first}\n{text}", number, f"{first}\n{text}")
    return _Place(ip, cell, filename, number)


@contextlib.contextmanager
def _or_as_before(ip: InteractiveShell, name: str) -> Iterator[None]:
    """Let the name of a cell that is refused, or fails, mean what it did: never a plain function
    in the place of a component."""
    # A decorator puts what it has made on the shelf before the cell is refused.
    places: tuple[dict[str, Any], ...] = (ip.user_ns, shelf.components)
    before = [(place, place.get(name, _NOTHING)) for place in places]
    held = before[0][1]
    try:
        yield
    except BaseException as exc:
        for place, value in before:
            if value is _NOTHING:
                place.pop(name, None)
            else:
                place[name] = value
        if isinstance(held, (Component, Pipeline)):
            exc.add_note(f"{name} is still the one of {held.source.where}")
        raise


def _run(place: _Place, tree: ast.Module) -> None:
    """Execute code of the cell in the notebook's namespace."""
    ip = place.ip
    try:
        tree = ip.transform_ast(tree)  # type: ignore[no-untyped-call]
        code = ip.compile(tree, place.filename, "exec")
    except SyntaxError as exc:
        raise cell_syntax_error(exc, where=place.cell.where, text=place.cell.text) from None
    try:
        exec(code, ip.user_global_ns, ip.user_ns)
    except Exception as exc:
        only_user_frames(ip, exc, place.filename)
        raise


def _defined(place: _Place, chosen: ast.stmt) -> tuple[object, Source]:
    """Run a cell with definitions; give the chosen one and its source."""
    _run(place, place.cell.tree)
    name = _name_of(chosen)
    decorators = getattr(chosen, "decorator_list", [])
    line = min([chosen.lineno, *(d.lineno for d in decorators)])
    return place.ip.user_ns[name], _source(place, place.cell.text_of(chosen), line)


def _name_of(definition: ast.stmt) -> str:
    return str(getattr(definition, "name", "") or definition.targets[0].id)  # type: ignore[attr-defined]


def _from_definition(
    thing: object,
    source: Source,
    name: str | None,
    platform: object,
    options: Mapping[str, object],
) -> Component:
    """Make a component of what the cell defined; a decorated one keeps its own options too."""
    if not isinstance(thing, Component):
        return make_component(
            thing,  # type: ignore[arg-type]
            name=name or _own_name(thing, source),
            platform=str(platform or usual_platform(options)),
            options=options,
            source=source,
        )
    if not platform and thing.platform == "local":
        platform = usual_platform(options)
    changed = thing.on(str(platform) if platform else None, **options)
    return shelf.put(replace(changed, name=name or thing.name, source=source))


def _own_name(thing: object, source: Source) -> str | None:
    """The name a lambda was assigned to; None lets the function's own name be taken."""
    if getattr(thing, "__name__", "") != "<lambda>":
        return None
    return source.text.partition("=")[0].strip()


def _body(place: _Place, asked: Line) -> Body:
    """The function of a body form cell, its signature inferred where the line has none."""
    cell, name = place.cell, asked.name or "step"
    where = f"{cell.magic} {asked.name}".strip() + f" ({cell.where})"
    names = names_of(cell.tree.body)
    params = asked.params
    if params is None:
        given = {p.name for c in shelf.components.values() for p in c.outputs} - {"value"}
        params = ", ".join(infer_inputs(names, place.ip.user_ns, given, name=name, where=where))
    outputs: Sequence[Output] = asked.outputs or ()
    by_last = asked.params is not None and not names.assigned
    if asked.outputs is None and not by_last and not streams(cell):
        found = infer_outputs(names, (params,) if params else (), name=name, where=where)
        outputs = [Output(one) for one in found]
    if not asked.name:
        raise AmbiguousCell(
            "the component has no name",
            write=written(name, (params,) if params else (), [str(o) for o in outputs]),
            where=where,
        )
    return make_body(cell, name, params, outputs, assigned=sorted(names.every), last_value=by_last)


def _function(place: _Place, body: Body) -> tuple[Callable[..., object], Source]:
    """Compile the function of a body form cell; only its defaults and annotations are run."""
    function = body.tree.body[0]
    assert isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
    place = replace(place, filename=_named_for_its_lines(place))
    _run(place, body.tree)
    made: Callable[..., object] = place.ip.user_ns[function.name]
    return made, _source(place, body.text, 1)


def _named_for_its_lines(place: _Place) -> str:
    """Remember the cell under a name by which IPython shows all its lines in a traceback.

    A kernel names cells like files ("/tmp/ipykernel_7/1.py"); of such a file that is not there,
    IPython 9 shows only the block at the function's first line, here the magic line alone.
    """
    lines = linecache.getlines(place.filename)
    name = code_name("".join(lines), place.number)
    place.ip.compile._filename_map[name] = place.number
    linecache.cache[name] = (sum(map(len, lines)), None, lines, name)
    return name


def _source(place: _Place, text: str, line: int) -> Source:
    return Source(text, place.cell.where, line, place.filename, normalised(text))


def _ports(place: _Place, body: Body) -> tuple[Port, ...] | None:
    """The output ports that the line names; None lets the function's annotations say."""
    ports = []
    for out in body.outputs:
        try:
            kind = eval(out.type, place.ip.user_global_ns, place.ip.user_ns) if out.type else ANY
        except Exception as exc:  # the user's expression may fail in any way
            raise DefinitionError(
                f"{place.cell.magic} ({place.cell.where}, line 1): the type of output "
                f"{out.name!r} cannot be read: {exc}"
            ) from None
        if body.streams:
            kind = list if kind is ANY else list[kind]  # type: ignore[valid-type]
        ports.append(Port(out.name, kind))
    return tuple(ports) or None
