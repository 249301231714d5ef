"""Imports point down: the floors of CONTRIBUTING.md, and what may be loaded when."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator

from tests.house.package import NAME, ROOT, Module, modules

FLOORS = (
    ("errors", "context", "settled", "outlet", "outputs", "values_kinds", "amounts", "clock"),
    ("values_classes", "values_data", "values_tables", "breaker", "limit", "interpreter"),
    ("wire",),
    ("values", "segments"),
    ("failure", "remote_payloads"),
    ("events", "settings", "rebuild"),
    ("remote", "remote_turns"),
    ("remote_kept",),
    ("remote_orphan",),
    ("remote_process", "remote_stream", "remote_dask", "remote_post", "platforms", "question"),
    ("source",),
    ("fallback", "binding", "platform_choice", "verdict", "selection"),
    ("policy", "selecting"),
    ("component",),
    ("languages",),
    ("decorators",),
    ("graph",),
    ("executors", "store", "picture", "lineage"),
    ("scheduler",),
    ("plan", "asking", "grouping"),
    ("session",),
    ("views", "runs", "lineage_door"),
    ("exploring",),
    ("magics",),
    ("__init__", "__main__"),
)
"""A room imports only from rows above its own; rooms of one row do not see each other."""

TRAVELS = (
    "context", "settled", "outputs", "wire", "outlet", "values_kinds", "values_classes",
    "values_data", "values_tables", "values", "segments", "failure", "rebuild", "remote",
    "remote_turns", "remote_process", "remote_stream", "remote_kept",
    "remote_orphan", "remote_payloads", "remote_post",
)  # fmt: skip
"""They go to the far side as they are: standard library and each other only."""

HEAVY = {
    "IPython", "anywidget", "ipycytoscape", "ipykernel", "ipywidgets", "jupyter_client",
    "matplotlib", "nbclient", "nbconvert", "nbformat", "nest_asyncio", "nest_asyncio2", "networkx",
    "numpy", "pandas", "papermill", "rich", "traitlets",
}  # fmt: skip
LIGHT_ROOMS = {room for row in FLOORS[:-4] for room in row} | {"__init__"}

ROOT_ITSELF = {NAME, f"{NAME}.__version__"}
"""For its version and where it lies; its lazy names are held back by a test of their own."""

MAY_LOAD_LATE = {"session", "lineage_door", "views", "runs", "magics", "__init__", "__main__"}
"""They load a room at its first use, so that the extension and the command line start fast."""

FLOOR_OF = {room: number for number, row in enumerate(FLOORS) for room in row}
SUBMODULES = {module.name for module in modules()}


def imported(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """Each import anywhere in the module, also inside functions, as a dotted name."""
    for node in module.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            for alias in node.names:
                below = f"{base}.{alias.name}"
                yield node, below if below in SUBMODULES or base == NAME else base
        elif isinstance(node, ast.Call) and last_of(node.func).endswith("import_module"):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant):
                    yield node, str(argument.value)


def last_of(node: ast.expr) -> str:
    """The last part of a dotted name, "" of anything else."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def room_of(dotted: str) -> str:
    """The room a dotted name of the package belongs to."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 and f"{NAME}.{parts[1]}" in SUBMODULES else "__init__"


def top_level(module: Module, *, types: bool = False) -> set[int]:
    """The ids of the nodes that are not in functions; `types`: those for type checkers too."""
    found: set[int] = set()
    stack: list[ast.AST] = [module.tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not types:
            continue
        found.add(id(node))
        stack.extend(ast.iter_child_nodes(node))
    return found


def test_every_room_has_a_floor() -> None:
    assert {module.room for module in modules()} <= set(FLOOR_OF)


def test_a_room_imports_only_rooms_below_it() -> None:
    wrong = []
    for module in modules():
        for node, dotted in imported(module):
            if dotted.split(".")[0] != NAME or dotted in ROOT_ITSELF:
                continue
            other = room_of(dotted)
            if other != module.room and FLOOR_OF[other] >= FLOOR_OF[module.room]:
                wrong.append(f"{module.at(node)}: {module.room} imports {other}")
    assert wrong == []


def test_rooms_use_only_the_version_and_place_of_the_package_itself() -> None:
    wrong = [
        f"{module.at(node)}: {node.attr}"
        for module in modules()
        for node in module.nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == NAME
        and not (node.attr.startswith("__") or f"{NAME}.{node.attr}" in SUBMODULES)
    ]
    assert wrong == []


def test_imports_are_absolute() -> None:
    wrong = [
        module.at(node)
        for module in modules()
        for node in module.nodes
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert wrong == []


def test_imports_of_our_own_rooms_are_at_the_top() -> None:
    wrong = []
    for module in modules():
        top = top_level(module, types=True)
        for node, dotted in imported(module):
            late = isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in top
            if late and module.room not in MAY_LOAD_LATE and dotted.split(".")[0] == NAME:
                wrong.append(f"{module.at(node)}: {dotted}")
    assert wrong == []


def test_what_travels_needs_the_standard_library_only() -> None:
    wrong = []
    for module in modules():
        if module.room not in TRAVELS:
            continue
        for node, dotted in imported(module):
            first = dotted.split(".")[0]
            ours = dotted in ROOT_ITSELF or (first == NAME and room_of(dotted) in TRAVELS)
            if not ours and first not in sys.stdlib_module_names:
                wrong.append(f"{module.at(node)}: {dotted}")
    assert wrong == []


def test_lower_rooms_load_heavy_libraries_only_inside_functions() -> None:
    wrong = []
    for module in modules():
        if module.room not in LIGHT_ROOMS:
            continue
        top = top_level(module)
        for node, dotted in imported(module):
            if dotted.split(".")[0] in HEAVY and id(node) in top:
                wrong.append(f"{module.at(node)}: {dotted}")
    assert wrong == []


def test_import_twingraph_nb_loads_no_heavy_library() -> None:
    script = "import sys, json, twingraph_nb; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert sorted(loaded & (HEAVY | {"asyncio", "sqlite3", "multiprocessing"})) == []


def test_using_a_component_in_a_script_loads_no_heavy_library() -> None:
    script = (
        "import sys, json\n"
        "from twingraph_nb import component\n"
        "@component()\n"
        "def double(x: int) -> int:\n"
        "    return 2 * x\n"
        "assert double(double(3)).result(30) == 12\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert sorted(loaded & HEAVY) == []
