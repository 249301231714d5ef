"""Rust 2021: a function of the component's name, compiled once with -O.

int is any integer type, float f64 or f32, str String or &str, bytes Vec<u8>, Optional Option,
list Vec or a slice, dict HashMap or BTreeMap with String keys, several outputs a tuple. The
function may give a Result; its Err, and a panic, fail the task.
"""

from __future__ import annotations

import functools
import json
import os
import re
from pathlib import Path
from typing import Any, ClassVar

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

__all__ = ["Rust"]

_GLUE = Path(__file__).parent / "glue" / "glue.rs"
_CURE = "install it (https://rustup.rs; on Debian: apt-get install rustc)"
_FLAGS = ("--edition", "2021", "-O", "-C", "panic=unwind")
_TELL = "--error-format=json"
_CELL = "cell.rs"
_SAYS_WHY = (1, 78)  # has diagnostic::on_unimplemented
_TUPLE = 12  # items; glue.rs has no more
_WORDS = {
    "none": "None_", "int": "Int", "float": "Float", "bool": "Bool", "str": "Str",
    "bytes": "Bytes", "optional": "Optional", "list": "List", "dict": "Dict",
}  # fmt: skip


class Rust:
    """Cells with a Rust function."""

    name: ClassVar[str] = "rust"
    form: ClassVar[Form] = "packed"
    typed: ClassVar[bool] = True
    image: ClassVar[str] = ""

    def check(self, component: Component) -> None:
        where = f"{component.name} ({component.source.where})"
        name = component.function.__name__
        found = _signature(component)
        if found is None:
            ports = ", ".join(p.name for p in component.inputs)
            raise DefinitionError(
                f"{where}: the code has no function {name!r}; "
                f"write for example: fn {name}({ports}: ...) -> ... {{ ... }}"
            )
        if len(found[0]) != len(component.inputs):
            raise DefinitionError(
                f"{where}: fn {name} takes {len(found[0])} parameters, "
                f"but there are {len(component.inputs)} inputs"
            )
        if len(component.outputs) > _TUPLE:
            raise DefinitionError(f"{where}: Rust components have at most {_TUPLE} outputs")

    def streams(self, code: str, name: str) -> bool:
        return False

    def build(self, component: Component, *, cache: Path, where: Where = "here") -> Built:
        glue = _GLUE.read_text(encoding="utf-8")
        sources = {"glue.rs": glue, _CELL: lines_in(component), "main.rs": _main(component)}
        static = ("-C", "target-feature=+crt-static") if where == "static" else ()
        worker, facts = f"{HERE}/worker", ("rust", *sources.values(), *_FLAGS, where)
        if where == "inside":
            folder = kept(cache, facts, lambda folder: _write(folder, sources))
            command = ("rustc", *_FLAGS, _TELL, "-o", worker, f"{HERE}/main.rs")
            refused = functools.partial(_refused, component)
            return Built(folder, (worker,), (command,), refused=refused)
        compiler = tool("Rust", [os.environ.get("RUSTC", ""), "rustc"], _CURE)
        version = version_of(compiler)

        def make(folder: Path) -> None:
            _write(folder, sources)
            command = [compiler, *_FLAGS, *static, *_telling(version), _TELL]
            command += ["-o", "worker", "main.rs"]
            said = ran(command, folder)
            if said.returncode:
                raise _refused(component, said.stderr)

        return Built(kept(cache, (*facts, version), make), (worker,))


def _telling(version: str) -> tuple[str, ...]:
    """Flags that let glue.rs use sentences of its own in errors, which old compilers refuse."""
    found = re.match(r"rustc (\d+)\.(\d+)", version)
    new = found is not None and (int(found[1]), int(found[2])) >= _SAYS_WHY
    return ("--cfg", "twingraph_says_why") if new else ()


def _write(folder: Path, sources: dict[str, str]) -> None:
    for name, text in sources.items():
        (folder / name).write_text(text, encoding="utf-8")


def _signature(component: Component) -> tuple[list[str], str] | None:
    """The types of the parameters as text, and what follows them; None without the function."""
    code, name = component.source.text, re.escape(component.function.__name__)
    bare = re.sub(r"//[^\n]*|/\*.*?\*/", lambda found: " " * len(found[0]), code, flags=re.S)
    found = re.search(rf"\bfn\s+{name}\s*(?:<[^(]*>)?\s*\(", bare)
    if found is None:
        return None
    depth, start, parts = 1, found.end(), []
    for at in range(found.end(), len(bare)):
        char = bare[at]
        depth += (char in "([{<") - (char in ")]}" or (char == ">" and bare[at - 1] != "-"))
        if (char == "," and depth == 1) or depth == 0:
            parts.append(bare[start:at])
            start = at + 1
        if depth == 0:
            rest = bare[at + 1 :].partition("{")[0]
            types = [part.partition(":")[2].strip() for part in parts if part.strip()]
            return types, rest
    return None


def _main(component: Component) -> str:
    """The program around the cell."""
    types, rest = _signature(component) or ([], "")
    held, given = [], []
    for at, (port, kind) in enumerate(zip(component.inputs, types, strict=True)):
        word, name = _word(kind_of(port.type)), f"twingraph_{at}"
        made, use = _passed(kind, name)
        held.append(f"    let mut {name}: {made} = <{made} as g::Get<{word}>>::get(from);")
        given.append(use)
    call = f"{component.function.__name__}({', '.join(given)})"
    kinds = [_word(kind_of(port.type)) for port in component.outputs]
    whole = kinds[0] if len(kinds) == 1 else f"({', '.join(kinds)})"
    result = f"    let value = {call};"
    if re.match(r"\s*->\s*(?:\w+\s*::\s*)*Result\b", rest):
        result = f"    let value = {call}.map_err(|error| g::refusal(&error))?;"
    lines = [
        "#![allow(dead_code, unused_mut, unused_variables, unused_imports)]",
        '#[path = "glue.rs"] mod twingraph_glue;',
        "mod twingraph {",
        "    pub fn progress(fraction: f64, message: &str) {",
        '        let said = format!("{fraction} {message}");',
        '        crate::twingraph_glue::say("progress", said.as_bytes());',
        "    }",
        "}",
        f'include!("{_CELL}");',
        "fn twingraph_call(",
        "    from: &mut twingraph_glue::Reader, to: &mut Vec<u8>,",
        ") -> std::result::Result<(), twingraph_glue::Refusal> {",
        "    use twingraph_glue as g;",
        *held,
        result,
        f"    g::Put::<{whole}>::put(&value, to);",
        "    Ok(())",
        "}",
        "fn main() { twingraph_glue::serve(twingraph_call) }",
    ]
    return "\n".join(lines) + "\n"


def _passed(kind: str, name: str) -> tuple[str, str]:
    """The type of the variable for a parameter, and how the variable is passed."""
    found = re.match(r"&\s*(?:'\w+\s+)?(mut\s+)?", kind)
    if found is None:
        return "_", name
    what, borrow = kind[found.end() :], "&mut " if found[1] else "&"
    if what.startswith("["):
        return "Vec<_>", f"{borrow}{name}[..]"
    if re.match(r"str\b", what):
        return "String", f"{name}.as_str()"
    return "_", f"{borrow}{name}"


def _word(kind: Kind | None) -> str:
    """The kind as glue.rs has it."""
    assert kind is not None
    inner = ", ".join(_word(item) for item in kind.items)
    if kind.name == "tuple":
        return f"({inner},)"
    return f"g::{_WORDS[kind.name]}" + (f"<{inner}>" if inner else "")


def _refused(component: Component, output: str) -> CompileError:
    found, ours = [], []
    for text in output.splitlines():
        try:
            said = json.loads(text)
        except ValueError:
            continue
        if said.get("level") != "error" or not (spans := said.get("spans")):
            continue
        spans = sorted(spans, key=lambda one: not one["is_primary"])
        mine = next((one for one in spans if _is_cell(one)), None)
        if mine is None:
            ours.append((_line_of(component), said["message"]))
        else:
            found.append((mine["line_start"], _told(said, mine)))
    return compile_error(component, found or ours, output)


def _is_cell(span: dict[str, Any]) -> bool:
    return bool(span["file_name"].endswith(_CELL))


def _told(said: dict[str, Any], span: dict[str, Any]) -> str:
    code = (said.get("code") or {}).get("code")
    label = f" ({span['label']})" if span.get("label") else ""
    return f"{said['message']}{label}" + (f" [{code}]" if code else "")


def _line_of(component: Component) -> int:
    """The line of the code in which the function stands."""
    name = re.escape(component.function.__name__)
    for number, line in enumerate(component.source.text.splitlines(), 1):
        if re.search(rf"\bfn\s+{name}\b", line):
            return number
    return 0
