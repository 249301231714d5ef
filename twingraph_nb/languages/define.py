"""A component of a signature and code in another language."""

from __future__ import annotations

import hashlib
import linecache
import types
import typing
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from twingraph_nb.component import Component, Style, shelf
from twingraph_nb.errors import DefinitionError
from twingraph_nb.languages.base import Language
from twingraph_nb.languages.foreign import ForeignFunction
from twingraph_nb.languages.kinds import KINDS, kind_of
from twingraph_nb.languages.registry import language_of
from twingraph_nb.outputs import outputs as named
from twingraph_nb.platform_choice import check_platform
from twingraph_nb.policy import read_options
from twingraph_nb.source.line import Line, read_line
from twingraph_nb.source.ports import Port, input_ports, type_text
from twingraph_nb.source.text import Source

__all__ = ["component_of", "foreign_component", "read_signature", "source_of_code"]

_EXAMPLE = "fast_sum(xs: list[float]) -> total: float"


def foreign_component(
    language: str,
    signature: str,
    code: str,
    *,
    name: str | None = None,
    platform: str = "local",
    options: Mapping[str, object] | None = None,
) -> Component:
    """Make a component of code in another language, from Python.

    Args:
        language: its name, or the path of a manifest.
        signature: ``fast_sum(xs: list[float]) -> total: float``; the code has a function of that
            name (Bash: the ports are variables).
        name: of the component, if not the function's.
    Raises:
        DefinitionError: the signature, the code, an option or the language is not right.
    """
    asked = read_signature(signature)
    source = source_of_code(code, f"the code of {asked.name}", 1, f"<{language} {asked.name}>")
    lines = code.splitlines(keepends=True)
    linecache.cache[source.filename] = (len(code), None, lines, source.filename)
    return component_of(
        language, asked, source, {}, name=name, platform=platform, options=options or {}
    )


def read_signature(signature: str) -> Line:
    """Read a signature given in Python.

    Raises:
        DefinitionError: it cannot be read, or has no name or inputs.
    """
    return read_line(signature, magic="signature", known=())


def source_of_code(code: str, cell: str, line: int, filename: str) -> Source:
    """Give the source of code in another language; only spaces at its ends do not count."""
    digest = hashlib.sha256(code.strip().encode("utf-8", "surrogatepass")).hexdigest()
    return Source(code, cell, line, filename, digest)


def component_of(
    language: str,
    asked: Line,
    source: Source,
    names: Mapping[str, object],
    *,
    name: str | None = None,
    platform: str = "local",
    options: Mapping[str, object],
) -> Component:
    """Make a component of what the magic line and the cell say, and keep it on the shelf.

    Args:
        names: what annotations and defaults may use.
    Raises:
        DefinitionError: see `foreign_component`.
    """
    if not asked.name or asked.params is None:
        raise DefinitionError(
            f"a component in {language} needs a signature, for example: {_EXAMPLE}"
        )
    name = name or asked.name
    where = f"component {name} ({source.where})"
    spoken = language_of(language, where=where)
    chosen = check_platform(platform, where=where, language=spoken.name)
    policy, rest = read_options(dict(options), where=where, platform=chosen)
    streams = spoken.streams(source.text, asked.name)
    inputs, outputs = _ports(asked, names, where, spoken, streams)
    style: Style = "stream" if streams else "sync"
    function = ForeignFunction(asked.name, spoken.name)
    if len(outputs) > 1:  # what kept outputs are put together to
        kind = type(named(name, **dict.fromkeys(port.name for port in outputs)))
        function.__annotations__ = {"return": kind}
    source = replace(source, digest=_digest(asked, source))
    made = Component(
        name,
        function,
        source,
        inputs,
        outputs,
        style,
        chosen,
        policy,
        rest,
        _named(spoken, language),
    )
    _check_kinds(made, spoken, where)
    spoken.check(made)
    return shelf.put(made)


def _digest(asked: Line, source: Source) -> str:
    """Of code and signature: a Python function has its defaults in its text, this has not."""
    facts = (source.digest, asked.name, asked.params, [str(out) for out in asked.outputs or ()])
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _named(spoken: Language, language: str) -> str:
    """How the component names its language: a manifest by its path, all others by name."""
    if not language.endswith((".yaml", ".yml")):
        return spoken.name
    return str(Path(language).expanduser().resolve())


def _ports(
    asked: Line, names: Mapping[str, object], where: str, spoken: Language, streams: bool
) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    space = {**vars(typing), **names}
    try:
        # The user's own code, as in a cell; without our own `annotations`, so that a type that is
        # not there is an error.
        text = f"def signature({asked.params}): pass"
        exec(compile(text, "<signature>", "exec", dont_inherit=True), space)
        function = space["signature"]
        assert isinstance(function, types.FunctionType)
        inputs = input_ports(function)
        outputs = [
            Port(out.name, eval(out.type, space)) if out.type else Port(out.name)
            for out in asked.outputs or ()
        ]
    except Exception as exc:  # an annotation or default is an expression and may raise anything
        raise DefinitionError(f"{where}: the signature cannot be read: {exc}") from None
    starred = next((p for p in inputs if p.variadic), None)
    if starred is not None:
        raise DefinitionError(f"{where}: {starred} takes any number of values; use a list instead")
    if not outputs:
        outputs = [Port("value", type(None)) if spoken.typed else Port("value")]
        if spoken.form == "fields":
            outputs = [Port("value", type(None))]
    if streams and len(outputs) == 1:
        outputs = [replace(outputs[0], type=list[outputs[0].type])]  # type: ignore[misc]
    return inputs, tuple(outputs)


def _check_kinds(made: Component, spoken: Language, where: str) -> None:
    for which, ports in (("input", made.inputs), ("output", made.outputs)):
        for port in ports:
            kind = kind_of(port.type)
            untyped = kind is not None and "Any" in str(kind)
            if kind is None or (spoken.typed and untyped):
                has = "has no type" if untyped else f"is {type_text(port.type)}"
                raise DefinitionError(
                    f"{where}: {which} {port.name!r} {has}, for which {made.language} has no "
                    f"word; there are {KINDS}"
                )
