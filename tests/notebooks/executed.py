"""An example notebook, run as a batch job in a kernel and a home of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

__all__ = ["Executed", "execute", "kept_short"]

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
TWINGRAPH = Path(sys.executable).with_name("twingraph")
_OURS = re.compile(r"(TWINGRAPH|GIT|AWS|DOCKER)_|KUBECONFIG$|JPY_SESSION_NAME$")


@dataclass(frozen=True)
class Executed:
    """What the job left. home: of its runs."""

    nb: Any
    home: Path

    def cell(self, id: str) -> Any:
        """A cell by its id."""
        return next(cell for cell in self.nb.cells if cell.id == id)

    def printed(self, id: str) -> str:
        """What a cell printed."""
        return "".join(out.get("text", "") for out in self.cell(id).outputs)

    def shown(self, id: str, kind: str = "text/plain") -> str:
        """What a cell shows in one form."""
        found = [out.get("data", {}).get(kind, "") for out in self.cell(id).outputs]
        return "".join("".join(one) for one in found)

    def table(self, id: str) -> list[list[str]]:
        """The rows of the table that a cell shows, with its head."""
        rows = re.findall(r"<tr>(.*?)</tr>", self.shown(id, "text/html"), re.DOTALL)
        return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]


def execute(
    name: str,
    folder: Path,
    parameters: Mapping[str, str] = {},
    environ: Mapping[str, str] = {},
) -> Executed:
    """Run a notebook of this repository; it must succeed."""
    env = {key: value for key, value in os.environ.items() if not _OURS.match(key)}
    env |= {**environ, "TWINGRAPH_HOME": str(folder / "home"), "HOME": str(folder)}
    words = [str(TWINGRAPH), "run", str(NOTEBOOKS / f"{name}.ipynb"), "-o", str(folder / "out")]
    for key, value in parameters.items():
        words += ["-p", key, value]
    told = subprocess.run(words, env=env, cwd=folder, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
    return Executed(nbformat.read(folder / "out" / f"{name}.ipynb", 4), folder / "home")


def kept_short(name: str) -> None:
    """See that a notebook is valid, short, and kept without outputs."""
    nb = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4)
    nbformat.validate(nb)
    assert len(nb.cells) < 25
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
