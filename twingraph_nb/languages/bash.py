"""Bash: the ports are variables, lists are arrays, dicts are associative arrays.

What lies deeper than that is a text of JSON; None is a variable that is not set. The script runs
with ``set -eE -o pipefail``: a command that fails ends the task, unless the script says otherwise.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import ClassVar

from twingraph_nb.component import Component
from twingraph_nb.errors import DefinitionError
from twingraph_nb.languages.base import (
    HERE,
    Built,
    Where,
    compile_error,
    kept,
    lines_in,
    ran,
    tool,
)
from twingraph_nb.languages.codec import Form

__all__ = ["Bash"]

_GLUE = Path(__file__).parent / "glue" / "worker.sh"
_CURE = "install Bash 4.4 or newer (on Debian: apt-get install bash)"
_ERROR = re.compile(r"^.*?: line (\d+): (.*)$", re.MULTILINE)
_READONLY = {"BASHOPTS", "BASHPID", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID", "_"}
_STEERING = {"IFS", "PATH", "BASH_ENV", "ENV", "HOME", "LD_PRELOAD", "LD_LIBRARY_PATH"}


class Bash:
    """Scripts whose outputs are variables that they leave."""

    name: ClassVar[str] = "bash"
    form: ClassVar[Form] = "fields"
    typed: ClassVar[bool] = False
    image: ClassVar[str] = ""

    def check(self, component: Component) -> None:
        for port in (*component.inputs, *component.outputs):
            bad = not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", port.name)
            if bad or port.name in _READONLY | _STEERING or port.name.startswith("twingraph_"):
                raise DefinitionError(
                    f"{component.name} ({component.source.where}): Bash cannot have a port "
                    f"{port.name!r}: a variable of that name is not possible or is its own"
                )
        found = shutil.which("bash")
        if found is None:
            return
        said = ran([found, "-n", "-c", lines_in(component)])
        if said.returncode:
            errors = [(int(line), text) for line, text in _ERROR.findall(said.stderr)]
            errors = [(line, text) for line, text in errors if not text.startswith("`")]
            raise compile_error(component, errors, said.stderr)

    def streams(self, code: str, name: str) -> bool:
        return False

    def build(self, component: Component, *, cache: Path, where: Where = "here") -> Built:
        program = tool(self.name, ["bash"], _CURE) if where == "here" else "bash"
        code, glue = lines_in(component), _GLUE.read_text(encoding="utf-8")

        def make(folder: Path) -> None:
            (folder / "cell.sh").write_text(code, encoding="utf-8")
            (folder / "worker.sh").write_text(glue, encoding="utf-8")

        folder = kept(cache, ("bash", code, glue), make)
        return Built(folder, (program, f"{HERE}/worker.sh", f"{HERE}/cell.sh"))
