"""The package as text and as syntax trees, for the tests of the house rules."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

__all__ = ["NAME", "ROOT", "Module", "modules", "tracked"]

ROOT = Path(__file__).resolve().parents[2]
NAME = "twingraph_nb"


@dataclass(frozen=True)
class Module:
    """One file of the package. name: dotted, as imported. path: below the root of the checkout."""

    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        return (ROOT / self.path).read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, str(self.path))

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """All nodes of the tree."""
        return tuple(ast.walk(self.tree))

    @property
    def room(self) -> str:
        """The first part below the package: a folder, a file without ``.py``, or ``__init__``."""
        return self.name.split(".")[1] if "." in self.name else "__init__"

    @property
    def public(self) -> bool:
        """True unless a part of its name starts with one underscore, or it is empty."""
        parts = self.name.split(".")
        return bool(self.text.strip()) and not any(part.startswith("_") for part in parts)

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Each function and method, nested ones too."""
        for node in self.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def at(self, node: ast.AST) -> str:
        """The place of a node for messages."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}"


@lru_cache(maxsize=1)
def modules() -> tuple[Module, ...]:
    """Every module of the package, in order of their paths."""
    found = []
    for path in sorted((ROOT / NAME).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        dotted = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(dotted, path.relative_to(ROOT)))
    return tuple(found)


@lru_cache(maxsize=1)
def tracked() -> tuple[Path, ...]:
    """Every file that is in git or would be added, below the root of the checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return tuple(Path(name) for name in sorted(listed.split("\0")) if (ROOT / name).is_file())
