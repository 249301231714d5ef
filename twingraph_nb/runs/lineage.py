"""The command `twingraph lineage`: questions to the graph, Gremlin, exports, forgetting."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from twingraph_nb.errors import LineageError, suggestion
from twingraph_nb.runs import pushing, serving
from twingraph_nb.settings import Settings
from twingraph_nb.store import Store

if TYPE_CHECKING:
    from twingraph_nb.lineage.graph import Graph

__all__ = ["add_arguments"]

_ACTS = ("query", "export", "forget", "serve", "push", "backfill")
_PIPE_WIDTH = 200
"""Columns where the output is no terminal."""


def add_arguments(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], place: argparse.ArgumentParser
) -> None:
    """Add the command; what it loads to answer is loaded when it does."""
    parser = commands.add_parser(
        "lineage",
        help="ask the graph of everything that ran",
        parents=[place],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "made-by X, used-by X         X: a task's hash, a digest, a value, a file\n"
            "diff RUN RUN                 how two runs differ\n"
            "who-changed COMPONENT        its versions: when, by whom, where\n"
            "stale                        results that would come out differently now\n"
            "blast COMPONENT              what a change of it reaches\n"
            "slowest                      where the time goes\n"
            "failures [--since AGE]       what failed, newest first\n"
            "schema                       what the graph holds\n"
            'query GREMLIN                such as \'g.V().has("Task", "state", "failed")\'\n'
            "export FORMAT [--run RUN]    graphson, graphml, prov or openlineage\n"
            "forget RUN                   take a run out of the graph\n"
            "serve                        let Gremlin clients ask it, by WebSocket\n"
            "push [URL]                   send what is missing to Gremlin Server or Neptune\n"
            "backfill [URL]               send all runs there"
        ),
    )
    parser.add_argument("words", nargs="+", metavar="QUESTION", help="see above")
    parser.add_argument("--since", metavar="AGE", help="failures: only of that last time, 7d")
    parser.add_argument("--run", metavar="RUN", help="export: only this run")
    parser.add_argument("--output", "-o", metavar="FILE", help="export: into this file")
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")
    serving.add_arguments(parser)
    parser.set_defaults(act=_lineage)


def _lineage(namespace: argparse.Namespace) -> int:
    act, words = namespace.words[0], namespace.words[1:]
    if act == "forget":
        return _forget(_only(words, "forget RUN"))
    if act == "export":
        return _export(_only(words, "export FORMAT"), namespace.run, namespace.output)
    if act == "query":
        return _query(_only(words, "query GREMLIN"), as_json=namespace.json)
    if act in ("push", "backfill"):
        return pushing.push(words, everything=act == "backfill")
    if act == "serve":
        if words:
            raise LineageError("write: twingraph lineage serve")
        return serving.serve(namespace)
    return _ask(namespace)


def _only(words: Sequence[str], usage: str) -> str:
    if len(words) != 1:
        raise LineageError(f"write: twingraph lineage {usage}")
    return words[0]


def _graph() -> Graph:
    """The graph of the store; an empty one where nothing is recorded yet."""
    from twingraph_nb.lineage.forgotten import Forgotten
    from twingraph_nb.lineage.graph import Graph
    from twingraph_nb.lineage.projection import Projection

    home = Settings.load().home
    projection = Projection(Graph(read_only=True), Forgotten(home).runs)
    if Store.exists(home):
        with closing(Store.open(home, readonly=True)) as store:
            projection.rebuild(store)
    return projection.graph


def _ask(namespace: argparse.Namespace) -> int:
    from twingraph_nb.lineage.machine import source
    from twingraph_nb.lineage.spoken import ask, cells

    words = list(namespace.words)
    if namespace.since is not None:
        words += ["--since", namespace.since]
    rows = ask(source(_graph()), words, more=_ACTS)
    if namespace.json:
        _write_json(rows)
    elif not rows:
        sys.stdout.write("nothing\n")
    else:
        _print_table(*cells(rows))
    return 0


def _query(text: str, *, as_json: bool) -> int:
    from twingraph_nb.lineage.answers import plain, rows_of
    from twingraph_nb.lineage.machine import source
    from twingraph_nb.lineage.spoken import cells
    from twingraph_nb.lineage.terminals import results_of
    from twingraph_nb.lineage.text import read_query
    from twingraph_nb.lineage.unknown import unknown_names

    graph = _graph()
    query = read_query(text, source(graph))
    for note in unknown_names(query.traversal.bytecode, graph):
        sys.stderr.write(f"note: {note}\n")
    results = results_of(query)
    if as_json:
        _write_json([plain(result) for result in results])
    elif not results:
        sys.stdout.write("nothing\n")
    else:
        _print_table(*cells(rows_of(results)))
    return 0


def _export(form: str, run: str | None, output: str | None) -> int:
    from twingraph_nb.lineage import graphml, graphson, openlineage, prov
    from twingraph_nb.lineage.asking import run_meant
    from twingraph_nb.lineage.excerpt import of_run
    from twingraph_nb.lineage.machine import source

    graph = _graph()
    wanted = None if run is None else run_meant(source(graph), run)
    part = graph if wanted is None else of_run(graph, wanted)
    writers: dict[str, Callable[[], str]] = {
        "graphson": lambda: graphson.dumps(part),
        "graphml": lambda: graphml.dumps(part),
        "prov": lambda: prov.dumps(graph, wanted),
        "openlineage": lambda: openlineage.dumps(graph, wanted),
    }
    if form not in writers:
        near = suggestion(form, writers)
        raise LineageError(f"no format is called {form!r}{near}; there are: {', '.join(writers)}")
    text = writers[form]()
    if output is None:
        sys.stdout.write(text)
        return 0
    try:
        Path(output).write_text(text, encoding="utf-8", newline="\n")
    except OSError as exc:
        raise LineageError(f"{output} cannot be written: {exc.strerror or exc}") from exc
    size = f"{len(part.vertices)} vertices, {len(part.edges)} edges"
    lines = text.count("\n")
    sys.stdout.write(f"{output}: {size if form.startswith('graph') else f'{lines} lines'}\n")
    return 0


def _forget(text: str) -> int:
    from twingraph_nb.lineage.forgotten import Forgotten

    home = Settings.load().home
    with closing(Store.open(home, readonly=True)) as store:
        run = store.resolve(text)
    try:
        Forgotten(home).add(run)
    except OSError as exc:
        raise LineageError(f"{home} cannot be written: {exc.strerror or exc}") from exc
    sys.stdout.write(f"run {run} is no longer in the graph; its record stays in the store\n")
    return 0


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    table = Table(*head, box=None, header_style="dim", pad_edge=False)
    for row in rows:
        table.add_row(*(one.replace("[", r"\[") for one in row))
    Console(file=sys.stdout, width=width).print(table)


def _write_json(value: object) -> None:
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")
