"""The magic line of ``%%component`` and ``%%pipeline``: name, signature, options."""

from __future__ import annotations

import ast
import keyword
import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass

from twingraph_nb.errors import DefinitionError, UnknownOption
from twingraph_nb.source.parsed import parse

__all__ = ["Line", "Output", "parameter_names", "read_line"]

_EXAMPLE = "clean(raw, threshold=0.5) -> rows, dropped"
_SEVERAL_WORDS = frozenset({"retry_on"})


@dataclass(frozen=True, slots=True)
class Output:
    """A named result; `type` is its annotation as text, "" if none was given."""

    name: str
    type: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.type}" if self.type else self.name


@dataclass(frozen=True, slots=True)
class Line:
    """What stands after the magic's name.

    name: "" if not given. params: the text between the parentheses, None without a signature.
    outputs: None without an arrow. options: values as text, True for an option without a value.
    flags: options that take no value.
    """

    name: str = ""
    params: str | None = None
    outputs: tuple[Output, ...] | None = None
    options: dict[str, object] | None = None
    flags: frozenset[str] = frozenset()


def read_line(
    text: str, *, magic: str, known: Collection[str], flags: Collection[str] = ()
) -> Line:
    """Read a magic line such as ``clean(raw, threshold=0.5) -> rows --retries 3 --run``.

    Args:
        magic: "%%component", for messages.
        known: options that take a value, in Python's spelling (`retry_on`).
        flags: options that take none.
    Raises:
        DefinitionError: it cannot be read.
        UnknownOption: an option nobody knows; names the nearest.
    """
    head, tail = _split_options(text)
    name, params, outputs = _read_head(head.strip(), magic)
    options, given = _read_options(tail, f"{magic} {name}".strip(), known, flags)
    return Line(name, params, outputs, options, given)


def parameter_names(params: str) -> tuple[str, ...]:
    """Give the names of the parameters in the text of a signature."""
    return tuple(arg.arg for arg in _all_args(_arguments(params)))


def _split_options(text: str) -> tuple[str, str]:
    depth, quote = 0, ""
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote and text[at - 1] != "\\" else quote
        elif char in "'\"":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif depth <= 0 and text.startswith("--", at) and (at == 0 or text[at - 1].isspace()):
            return text[:at], text[at:]
    return text, ""


def _read_head(head: str, magic: str) -> tuple[str, str | None, tuple[Output, ...] | None]:
    found = re.match(r"[^\W\d]\w*", head)
    name = found[0] if found else ""
    if keyword.iskeyword(name):
        raise DefinitionError(f"{magic}: {name!r} is a word of Python and cannot be a name")
    rest = head[len(name) :].strip()
    params: str | None = None
    if rest.startswith("("):
        end = _closing(rest)
        if end < 0:
            raise DefinitionError(
                f"{magic}: '(' is never closed in {head!r}; write for example: {magic} {_EXAMPLE}"
            )
        params, rest = rest[1:end].strip(), rest[end + 1 :].strip()
        _check_params(params, head, magic)
    outputs: tuple[Output, ...] | None = None
    if rest.startswith("->"):
        outputs, rest = _read_outputs(rest[2:].strip(), head, magic), ""
    if params is not None and not name:
        raise DefinitionError(f"{magic}: write a name before the inputs: {magic} step{head}")
    if rest:
        raise DefinitionError(
            f"{magic}: cannot read {rest!r}; write for example: {magic} {_EXAMPLE} --retries 3"
        )
    return name, params, outputs


def _closing(text: str) -> int:
    depth, quote = 0, ""
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote and text[at - 1] != "\\" else quote
        elif char in "'\"":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth == 0:
                return at
    return -1


def _arguments(params: str) -> ast.arguments:
    function = parse(f"def _({params}): pass").body[0]
    assert isinstance(function, ast.FunctionDef)
    return function.args


def _all_args(args: ast.arguments) -> list[ast.arg]:
    stars = [a for a in (args.vararg, args.kwarg) if a is not None]
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *stars]


def _check_params(params: str, head: str, magic: str) -> None:
    try:
        _arguments(params)
    except SyntaxError as exc:
        raise DefinitionError(
            f"{magic}: the inputs in {head!r} cannot be read ({exc.msg}); "
            f"write for example: {magic} {_EXAMPLE}"
        ) from None


def _read_outputs(text: str, head: str, magic: str) -> tuple[Output, ...]:
    try:
        args = _arguments(text)
        plain = not (args.defaults or args.kw_defaults or args.vararg or args.kwarg)
    except SyntaxError:
        plain = False
    if not plain or not text:
        raise DefinitionError(
            f"{magic}: the outputs in {head!r} cannot be read; they are names, each with a type "
            f"if you like: {magic} clean(raw) -> rows: list, dropped: int"
        )
    return tuple(
        Output(a.arg, ast.unparse(a.annotation) if a.annotation else "") for a in _all_args(args)
    )


def _read_options(
    text: str, where: str, known: Collection[str], flags: Collection[str]
) -> tuple[dict[str, object], frozenset[str]]:
    try:
        words = shlex.split(text)
    except ValueError as exc:
        problem = str(exc).lower()
        raise DefinitionError(f"{where}: the options cannot be read: {problem}") from None
    options: dict[str, object] = {}
    given: set[str] = set()
    key = ""
    for word in words:
        if word.startswith("--"):
            shown, _, value = word.partition("=")
            key = shown[2:].replace("-", "_")
            if key in flags and not value:
                given.add(key)
            elif key in known:
                options[key] = value or True
            else:
                every = [k.replace("_", "-") for k in (*known, *flags)]
                raise UnknownOption(shown[2:], every, where=where)
        elif key in options and options[key] is True:
            options[key] = word
        elif key in _SEVERAL_WORDS and key in options:
            options[key] = f"{options[key]},{word}"
        else:
            raise DefinitionError(
                f"{where}: unexpected {word!r}; options are written as --retries 3, "
                f"and the name comes first"
            )
    return {k: _worded(v) for k, v in options.items()}, frozenset(given)


def _worded(value: object) -> object:
    return {"true": True, "false": False}.get(str(value).lower(), value)
