"""C++17: a function of the component's name, compiled once with -O2.

int is any integer, by value std::int64_t; str is std::string; bytes std::vector<std::uint8_t>;
Optional std::optional; list std::vector; dict std::map with std::string keys; tuple std::tuple.
Several outputs are a tuple, pair or struct with the outputs in order.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from twingraph_nb.component import Component
from twingraph_nb.errors import CompileError, DefinitionError
from twingraph_nb.languages.base import (
    HERE,
    Built,
    Where,
    compile_error,
    kept,
    lines_in,
    ran,
    tool,
    version_of,
)
from twingraph_nb.languages.codec import Form
from twingraph_nb.languages.kinds import Kind, kind_of

__all__ = ["Cpp"]

_GLUE = Path(__file__).parent / "glue" / "glue.hpp"
_THROW = _GLUE.with_name("throw.cpp")
_CURE = "install a compiler (on Debian: apt-get install g++; on macOS: xcode-select --install)"
_FLAGS = ("-std=c++17", "-O2", "-pthread")
_LINES = ("-g1", "-no-pie", "-DTWINGRAPH_LINES")
"""Flags by which glue.hpp finds the lines an exception passed through, or its addresses."""
_ALONE = ("-static", *_LINES, "-DTWINGRAPH_WRAPPED", "-Wl,--wrap=__cxa_throw")
"""Flags of a program that needs nothing where it runs: the addresses are looked up here."""
_ERROR = re.compile(r"^(.*?):(\d+):(?:\d+:)? (?:fatal )?error: (.*)$", re.MULTILINE)
_OURS = re.compile(r"static assertion failed(?: due to.*?)?: \"?\[twingraph\] (.*?)\"?$")
_CELL = "cell.cpp"
_PLACE = re.compile(r"/cell\.cpp:(\d+)")
_COMPILED = ("main.cpp", "throw.cpp")
_WORDS = {
    "none": "None",
    "int": "Int",
    "float": "Float",
    "bool": "Bool",
    "str": "Str",
    "bytes": "Bytes",
}


class Cpp:
    """Cells with a C++ function."""

    name: ClassVar[str] = "c++"
    form: ClassVar[Form] = "packed"
    typed: ClassVar[bool] = True
    image: ClassVar[str] = ""

    def check(self, component: Component) -> None:
        name, code = component.function.__name__, component.source.text
        if not re.search(rf"\b{re.escape(name)}\s*\(", code):
            raise DefinitionError(
                f"{component.name} ({component.source.where}): the code has no function {name!r} "
                f"with {len(component.inputs)} parameters"
            )

    def streams(self, code: str, name: str) -> bool:
        return False

    def build(self, component: Component, *, cache: Path, where: Where = "here") -> Built:
        glue = _GLUE.read_text(encoding="utf-8")
        sources = {"glue.hpp": glue, _CELL: lines_in(component), "main.cpp": _main(component)}
        flags: tuple[str, ...] = _FLAGS
        if where != "here" or sys.platform == "linux":
            flags = (*_FLAGS, *(_ALONE if where == "static" else (*_LINES, "-rdynamic")))
            sources["throw.cpp"] = _THROW.read_text(encoding="utf-8")
        worker, files = f"{HERE}/worker", [name for name in sources if name in _COMPILED]
        facts = ("c++", *sources.values(), *flags, where)
        if where == "inside":
            folder = kept(cache, facts, lambda folder: _write(folder, sources))
            paths = [f"{HERE}/{name}" for name in files]
            command = ("c++", *flags, "-o", worker, *paths, "-ldl")
            refused = functools.partial(_refused, component)
            return Built(folder, (worker,), (command,), refused=refused)
        names = [os.environ.get("CXX", ""), "c++", "g++", "clang++"]
        compiler = tool("C++", names, _CURE)

        def make(folder: Path) -> None:
            _write(folder, sources)
            said = ran([compiler, *flags, "-o", "worker", *files, "-ldl"], folder)
            if said.returncode:
                raise _refused(component, said.stderr)

        folder = kept(cache, (*facts, version_of(compiler)), make)
        located = functools.partial(_located, str(folder / "worker"))
        return Built(folder, (worker,), located=located)


@lru_cache(maxsize=256)
def _located(program: str, addresses: tuple[str, ...]) -> tuple[int, ...]:
    """The lines of the cell among addresses in a program that was built here."""
    try:
        said = ran(["addr2line", "-i", "-e", program, *addresses])
    except OSError:  # there is none, so the error goes without them
        return ()
    return tuple(int(line) for line in _PLACE.findall(said.stdout))


def _write(folder: Path, sources: dict[str, str]) -> None:
    for name, text in sources.items():
        (folder / name).write_text(text, encoding="utf-8")


def _main(component: Component) -> str:
    """The program around the cell."""
    name = component.function.__name__
    held = [
        f"    auto twingraph_{at} = twingraph::{_word(kind_of(port.type))}::get(reader);"
        for at, port in enumerate(component.inputs)
    ]
    call = f"{name}({', '.join(f'twingraph_{at}' for at in range(len(held)))})"
    kinds = [_word(kind_of(port.type)) for port in component.outputs]
    if kinds == ["None"]:
        give = [f"    {call};", "    twingraph::None::put(given, nullptr);"]
    elif len(kinds) == 1:
        give = [f"    twingraph::{kinds[0]}::put(given, {call});"]
    else:
        outs = [f"out_{at}" for at in range(len(kinds))]
        give = [f"    const auto [{', '.join(outs)}] = {call};"]
        pairs = zip(kinds, outs, strict=True)
        give += [f"    twingraph::{kind}::put(given, {out});" for kind, out in pairs]
    lines = [
        '#include "glue.hpp"',
        f'#include "{_CELL}"',
        "int main() {",
        "  return twingraph::serve([]([[maybe_unused]] twingraph::Reader &reader,",
        "                             [[maybe_unused]] std::string &given) {",
        *held,
        *give,
        "  });",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _word(kind: Kind | None) -> str:
    """The kind as glue.hpp has it."""
    assert kind is not None
    if kind.name in _WORDS:
        return _WORDS[kind.name]
    inner = ", ".join(f"twingraph::{_word(item)}" for item in kind.items)
    return f"{kind.name.title()}<{inner}>" if kind.items else kind.name.title()


def _refused(component: Component, output: str) -> CompileError:
    found, ours = [], []
    for file, line, message in _ERROR.findall(output):
        said = _OURS.search(message)
        if said:
            ours.append((_line_of(component), said[1]))
        elif os.path.basename(file) == _CELL:
            found.append((int(line), message))
        elif os.path.basename(file) == "main.cpp":
            ours.append(
                (_line_of(component), f"the function does not fit the magic line: {message}")
            )
    return compile_error(component, found or ours, output)


def _line_of(component: Component) -> int:
    """The line of the code in which the function stands."""
    name = re.escape(component.function.__name__)
    for number, line in enumerate(component.source.text.splitlines(), 1):
        if re.search(rf"\b{name}\s*\(", line):
            return number
    return 0
