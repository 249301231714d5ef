"""Size, names and habits of the package's files."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import lru_cache

from tests.house.package import NAME, ROOT, modules
from twingraph_nb.platforms import PLATFORMS

LONGEST_FILE = 450
LONGEST_FUNCTION = 60
ATTIC = re.compile(r"(^|_)(utils?|helpers?|managers?|common|misc|stuff)(_|$)")
ONLY_IF_THERE = {"numpy", "pandas", "matplotlib", "PIL", "psutil", "nest_asyncio2", "tornado"}
"""Looked at when the user has them; never needed."""


def test_no_file_is_longer_than_a_room_should_be() -> None:
    long = {str(m.path): len(m.text.splitlines()) for m in modules()}
    assert {path: lines for path, lines in long.items() if lines > LONGEST_FILE} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = {}
    for module in modules():
        for node in module.functions():
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            lines = (node.end_lineno or 0) - body[0].lineno + 1
            if lines > LONGEST_FUNCTION:
                long[f"{module.at(node)} {node.name}"] = lines
    assert long == {}


def test_files_are_named_after_what_they_hold() -> None:
    assert [str(m.path) for m in modules() if ATTIC.search(m.path.stem)] == []


def test_library_does_not_print() -> None:
    prints = [
        module.at(node)
        for module in modules()
        for node in module.nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert prints == []


def test_no_error_is_swallowed() -> None:
    wrong = []
    for module in modules():
        for node in module.nodes:
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = ast.unparse(node.type) if node.type else ""
            silent = all(isinstance(each, ast.Pass | ast.Continue) for each in node.body)
            if not caught or (caught in ("Exception", "BaseException") and silent):
                wrong.append(f"{module.at(node)}: except {caught}")
    assert wrong == []


def test_annotations_are_not_evaluated_on_import() -> None:
    want = "from __future__ import annotations"
    has_code = [m for m in modules() if any(not _is_text(n) for n in m.tree.body)]
    wrong = [str(m.path) for m in has_code if want not in m.text]
    assert wrong == []


def test_every_library_that_is_imported_is_declared() -> None:
    wrong = [
        f"{place}: {first}"
        for place, first in third_party()
        if first not in ONLY_IF_THERE and owner_of(first) and not owner_of(first) & declared()
    ]
    assert wrong == []


def test_every_declared_library_is_imported() -> None:
    used = {owner for _, first in third_party() for owner in owner_of(first)}
    assert sorted(declared() - used - {"ipykernel"}) == []  # a kernel is started, not imported


def third_party() -> Iterator[tuple[str, str]]:
    """(place, first part of the name) of each import that is not of this package."""
    for module in modules():
        for node in module.nodes:
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for first in {name.split(".")[0] for name in names} - {NAME}:
                yield module.at(node), first


def owner_of(first: str) -> set[str]:
    """The distributions that an import comes from; none for the standard library."""
    owners = _owners().get(first, [])
    return {each.lower().replace("_", "-") for each in owners}


def declared() -> set[str]:
    """The names of the core's dependencies, and of those that come with a platform's extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {p.extra for p in PLATFORMS.values() if p.extra}
    extras |= {"payloads", "explorer"}  # of several platforms, and of none
    said = [*project["dependencies"]]
    for extra in extras:
        said += project["optional-dependencies"][extra]
    return {re.split(r"[<>=\[ ;]", each)[0].lower().replace("_", "-") for each in said}


@lru_cache(maxsize=1)
def _owners() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
