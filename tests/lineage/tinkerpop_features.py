"""TinkerPop's own Gherkin features against the embedded engine.

    python -m tests.lineage.tinkerpop_features [FOLDER] [--only TEXT] [--show]

FOLDER holds `features/` and `data/`; default: TINKERPOP_FEATURES, else ../shared/tinkerpop. It
prints passed, failed and not supported per folder and per step. A scenario passes only with its
exact result: values with their types, order where it is asked for, counts, errors.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gremlin_python.process.traversal import T
from gremlin_python.statics import long
from gremlin_python.structure import graph as theirs

from tests.lineage.gherkin import Scenario, Setlike, Step, Tabled, scenarios, value
from twingraph_nb.lineage.containers import Tree, key_of
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.machine import source
from twingraph_nb.lineage.numbers import kind_of
from twingraph_nb.lineage.problems import NotSupported, UnknownStep
from twingraph_nb.lineage.text import parse
from twingraph_nb.lineage.text_names import Float32
from twingraph_nb.lineage.traverser import Limits

__all__ = ["main", "run"]

LIMITS = Limits(seconds=20.0)


class Mismatch(Exception):
    """The result is not what the scenario expects."""


class NothingToCheck(Exception):
    """The scenario says itself that it checks nothing."""


def loaded(file: Path) -> Graph:
    """The graph of a file of GraphSON adjacency lines."""
    graph = Graph()
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
    for line in lines:
        vertex = graph.add_vertex(line["label"], typed(line["id"]))
        for key, cells in line.get("properties", {}).items():
            for cell in cells:
                meta = {k: typed(v) for k, v in cell.get("properties", {}).items()}
                graph.add_property(
                    vertex, key, typed(cell["value"]), "list", typed(cell["id"]), meta
                )
    for line in lines:
        for label, edges in line.get("outE", {}).items():
            for edge in edges:
                graph.add_edge(
                    label,
                    graph.vertices[typed(line["id"])],
                    graph.vertices[typed(edge["inV"])],
                    typed(edge["id"]),
                    {k: typed(v) for k, v in edge.get("properties", {}).items()},
                )
    return graph


def typed(given: Any) -> Any:
    """A GraphSON value."""
    if not isinstance(given, dict):
        return given
    make = {"g:Int32": int, "g:Int64": long, "g:Double": float, "g:Float": Float32}
    return make[given["@type"]](given["@value"])


def same(found: Any) -> Any:
    """A form of a value that is equal only for equal values of equal types."""
    if isinstance(found, theirs.Vertex):
        return ("vertex", found.id)
    if isinstance(found, theirs.Edge):
        return ("edge", found.id)
    if isinstance(found, theirs.VertexProperty):
        return ("vp", found.id)
    if isinstance(found, theirs.Property):
        return ("p", found.key, same(found.value))
    if isinstance(found, theirs.Path):
        return ("path", tuple(same(item) for item in found.objects))
    if isinstance(found, Tabled):
        return ("path", tuple(same(item) for item in found.objects))
    if isinstance(found, T):
        return ("T", found.name.rstrip("_"))
    if isinstance(found, Setlike | set | frozenset):
        return ("set", frozenset(collections.Counter(same(item) for item in found).items()))
    if isinstance(found, dict):
        return ("map", frozenset((same(k), same(v)) for k, v in found.items()))
    if isinstance(found, list | tuple):
        return ("list", tuple(same(item) for item in found))
    if kind_of(found) == "f":
        return ("f", round(float(found), 5))
    if kind_of(found) == "m":
        return ("m", found.normalize())
    return key_of(found)


@dataclass
class Play:
    """One scenario being run."""

    data: Path
    graph: Graph = field(default_factory=Graph)
    bindings: dict[str, Any] = field(default_factory=dict)
    effects: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    result: list[Any] = field(default_factory=list)
    error: Exception | None = None
    allow_null: bool = False

    def g(self) -> Any:
        """The source, with the side effects of the scenario."""
        made = source(self.graph, LIMITS)
        for name, held in self.effects.items():
            made = made.with_side_effect(name, held)
        return made

    def parsed(self, text: str) -> Any:
        """The traversal of a text."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return parse(text, self.g(), self.bindings)

    def do(self, step: Step) -> None:
        """Run one step of the scenario."""
        text = step.text
        if match := re.fullmatch(r"the (\w+) graph", text):
            empty = match[1] == "empty"
            self.graph = Graph() if empty else loaded(self.data / f"{match[1]}.json")
            self.graph.allow_null = self.allow_null
        elif text == "an unsupported test":
            raise NothingToCheck
        elif text == "the graph initializer of":
            self.parsed(_plain(step)).iterate()
        elif match := re.fullmatch(
            r'using the (parameter|side effect) (\w+) (?:defined as|of) "(.*)"', text
        ):
            held = value(match[3].replace('\\"', '"'), self.graph)
            if isinstance(held, Setlike):
                held = set(held)
            (self.bindings if match[1] == "parameter" else self.effects)[match[2]] = held
        elif text == "the traversal of":
            self.text = _plain(step)
        elif text.startswith("iterated"):
            self.iterate(text)
        else:
            self.check(step)

    def iterate(self, how: str) -> None:
        """Run the traversal."""
        try:
            traversal = self.parsed(self.text)
            self.result = opened(traversal.next()) if "next" in how else traversal.to_list()
        except Exception as wrong:  # the scenario may expect it; a later step says so
            self.error = wrong

    def check(self, step: Step) -> None:
        """Compare with what is expected."""
        text = step.text
        if text.startswith("the traversal will raise an error"):
            self.check_error(text)
            return
        if self.error is not None:
            raise self.error
        if text == "nothing should happen because":
            raise NothingToCheck
        if match := re.fullmatch(r"the result should have a count of (\d+)", text):
            size = self.result
            if (
                len(size) == 1
                and isinstance(size[0], dict | list | set)
                and len(size) != int(match[1])
            ):
                size = size[0]
            expect(len(size) == int(match[1]), f"{len(size)} results, not {match[1]}")
        elif text == "the result should be empty":
            expect(not self.result, f"not empty: {self.result[:5]}")
        elif match := re.fullmatch(r'the graph should return (\d+) for count of "(.*)"', text):
            found = len(self.parsed(match[2].replace('\\"', '"')).to_list())
            expect(found == int(match[1]), f"{found} for {match[2]}, not {match[1]}")
        elif text == "the result should be a tree with a structure of":
            wanted = _tree(step.block or "", self.graph)
            found = _tree_of(self.result[0])
            expect(found == wanted, f"{found} is not {wanted}")
        elif text == "the result should be a subgraph with the following":
            held = getattr(self.result[0], step.rows[0])
            self.compare("unordered", step, list(held.values()))
        elif match := re.fullmatch(r"the result should be (unordered|ordered|of)", text):
            self.compare(match[1], step, self.result)
        else:
            raise NotImplementedError(f"the runner does not know: {text}")

    def compare(self, how: str, step: Step, found: list[Any]) -> None:
        """Compare a list of results with a table."""
        wanted = [value(row, self.graph) for row in step.rows[1:]]
        ours, expected = [same(one) for one in found], [same(one) for one in wanted]
        shown = f"{found[:12]!r} is not {wanted[:12]!r}"
        if how == "ordered":
            expect(ours == expected, shown)
        elif how == "unordered":
            expect(collections.Counter(ours) == collections.Counter(expected), shown)
        else:
            expect(all(one in expected for one in ours), shown)

    def check_error(self, text: str) -> None:
        """Compare the error."""
        expect(self.error is not None, f"no error, but {self.result[:5]!r}")
        if isinstance(self.error, NotSupported | UnknownStep):
            raise self.error
        match = re.fullmatch(r'.* message (containing|starting|ending) text of "(.*)"', text)
        if match is not None:
            said, wanted = str(self.error).lower(), match[2].replace('\\"', '"').lower()
            fits = {"containing": wanted in said, "starting": said.startswith(wanted)}
            expect(fits.get(match[1], said.endswith(wanted)), f"the error says: {self.error}")
        self.error = None


def opened(found: Any) -> list[Any]:
    """A single result; of one with elements a table shows these."""
    if isinstance(found, theirs.Path):
        return list(found.objects)
    return list(found) if isinstance(found, list | set) else [found]


def expect(true: bool, otherwise: str) -> None:
    """Fail the scenario unless this holds."""
    if not true:
        raise Mismatch(otherwise)


def _plain(step: Step) -> str:
    return (step.block or "").strip()


def _tree(block: str, graph: Graph) -> Any:
    """Nested sets of what an indented tree shows."""
    root: dict[Any, Any] = {}
    stack = [(-1, root)]
    for line in block.splitlines():
        if "|--" not in line:
            continue
        depth, text = line.index("|--"), line.partition("|--")[2].strip()
        while stack[-1][0] >= depth:
            stack.pop()
        below: dict[Any, Any] = {}
        stack[-1][1][same(value(text, graph))] = below
        stack.append((depth, below))
    return root


def _tree_of(tree: Tree) -> Any:
    return {same(key): _tree_of(below) for key, below in tree.items()}


def run(scenario: Scenario, data: Path) -> tuple[str, str]:
    """How a scenario ended: passed, failed, unsupported or nothing, and why."""
    play = Play(data)
    play.allow_null = "@AllowNullPropertyValues" in scenario.tags
    try:
        for step in scenario.steps:
            play.do(step)
        if play.error is not None:
            raise play.error
    except NothingToCheck:
        return "nothing", ""
    except (NotSupported, UnknownStep) as wrong:
        return "unsupported", str(wrong)
    except Exception as wrong:  # whatever goes wrong is a failed scenario
        return "failed", f"{type(wrong).__name__}: {wrong}"
    return "passed", ""


def main(arguments: list[str] | None = None) -> int:
    """Run the features of a folder and print the counts."""
    default = os.environ.get("TINKERPOP_FEATURES", "../shared/tinkerpop")
    parser = argparse.ArgumentParser(description="TinkerPop's features against the engine")
    parser.add_argument("folder", nargs="?", default=default)
    parser.add_argument("--only", default="", help="part of a file's or scenario's name")
    parser.add_argument("--show", action="store_true", help="print why scenarios fail")
    options = parser.parse_args(arguments)
    root = Path(options.folder)
    if not (root / "features").is_dir():
        print(f"no features in {root}: give the folder, or set TINKERPOP_FEATURES")
        return 2
    rows: dict[tuple[str, str], collections.Counter[str]] = {}
    for file in sorted((root / "features").rglob("*.feature")):
        for scenario in scenarios(file):
            if (
                options.only.lower()
                not in f"{file.parent.name}/{file.name} {scenario.name}".lower()
            ):
                continue
            how, why = run(scenario, root / "data")
            rows.setdefault((file.parent.name, file.stem), collections.Counter())[how] += 1
            if options.show and how in ("failed", "unsupported"):
                print(f"{how.upper()} {file.parent.name}/{file.stem}: {scenario.name}\n    {why}")
    _print(rows)
    return 0


def _print(rows: dict[tuple[str, str], collections.Counter[str]]) -> None:
    kinds = ("passed", "failed", "unsupported", "nothing")
    print(f"{'':44}" + "".join(f"{kind:>12}" for kind in kinds))
    folders: dict[str, collections.Counter[str]] = {}
    for (folder, step), counts in rows.items():
        folders.setdefault(folder, collections.Counter()).update(counts)
        print(f"{folder + '/' + step:44}" + "".join(f"{counts[kind]:>12}" for kind in kinds))
    print()
    folders["all"] = sum(folders.values(), collections.Counter())
    for folder, counts in folders.items():
        checked = sum(counts[kind] for kind in kinds[:3])
        share = 100 * counts["passed"] / checked if checked else 100.0
        print(f"{folder:44}" + "".join(f"{counts[kind]:>12}" for kind in kinds) + f"{share:9.1f} %")


if __name__ == "__main__":
    sys.exit(main())
