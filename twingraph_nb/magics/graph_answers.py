"""What ``%%gremlin`` and ``%lineage`` do: ask the session's graph, and show the answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal

from twingraph_nb.errors import LineageError, suggestion
from twingraph_nb.exploring import explore
from twingraph_nb.graph.run import Run
from twingraph_nb.lineage.answers import elements_of, plain, rows_of
from twingraph_nb.lineage.asking import Row, run_meant
from twingraph_nb.lineage.excerpt import of_run, of_vertices
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.machine import source
from twingraph_nb.lineage.questions import made_by, used_by
from twingraph_nb.lineage.spoken import ask, cells, words_of
from twingraph_nb.lineage.terminals import results_of
from twingraph_nb.lineage.text import read_query
from twingraph_nb.lineage.unknown import unknown_names
from twingraph_nb.lineage_door import giver_of, lineage, live_graph
from twingraph_nb.magics.shown import Shown, table
from twingraph_nb.session import get_session
from twingraph_nb.views.explorer.shown import drawable, publish

__all__ = ["Answer", "gremlin", "question"]

Form = Literal["table", "graph", "json"]

_FORMS: dict[str, Form] = {"--table": "table", "--graph": "graph", "--json": "json"}
_MOST_ROWS = 200
"""Rows that a table shows; `.rows` has all."""


@dataclass(frozen=True)
class Answer:
    """An answer of the graph: shown as a table, as JSON or as a drawing; iterable as rows.

    results: what Gremlin gave. rows: the same as plain data, one mapping for each. graph: the
    vertices and edges in it. form: how it is shown. notes: what may be wrong with the question,
    such as the name of a property that nothing has; told under a table.
    """

    results: Sequence[object]
    rows: Sequence[Row]
    form: Form = "table"
    graph: Graph = field(default_factory=Graph, repr=False)
    notes: Sequence[str] = ()

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return self._json() if self.form == "json" else self._table().text

    def _ipython_display_(self) -> None:
        if self.form != "graph":
            raise NotImplementedError  # then IPython asks for a bundle
        publish(self.graph)

    def _repr_mimebundle_(self, **_: object) -> dict[str, object] | None:
        if self.form == "json":
            return {"text/plain": self._json()}
        shown = self._table()
        return {"text/plain": shown.text, "text/html": shown.html}

    def _json(self) -> str:
        return json.dumps([plain(one) for one in self.results], indent=2, ensure_ascii=False)

    def _table(self) -> Shown:
        head, rows = cells(self.rows[:_MOST_ROWS])
        if len(self.rows) > _MOST_ROWS:
            rows.append([f"… {len(self.rows) - _MOST_ROWS} more", *[""] * (len(head) - 1)])
        shown = table(head, rows, empty="nothing")
        notes = [f"note: {note}" for note in self.notes]
        html = "".join(f"<p>{escape(note)}</p>" for note in notes)
        return Shown("\n".join((shown.text, *notes)), shown.html + html)


def gremlin(line: str, cell: str | None, names: Mapping[str, object]) -> Answer:
    """Give the answer to a query: of the cell, or of the line where there is no cell.

    Raises:
        LineageError: an option is not known, or the query cannot be answered.
    """
    form, run, rest = _options(line)
    if cell is None:
        cell = rest
    elif rest:
        raise LineageError(f"%%gremlin: {rest!r} is no option; the query stands below the line")
    live = live_graph()
    get_session().driver.flush()
    graph = whole = live.refresh()
    if run is not None:
        graph = of_run(graph, run_meant(source(graph), run))
    query = read_query(cell, source(graph), names)
    notes = unknown_names(query.traversal.bytecode, whole)
    results = results_of(query)
    vertices, _ = elements_of(results)
    known = [graph.vertices[v.id] for v in vertices if v.id in graph.vertices]
    found = of_vertices(known)
    if form == "graph":
        drawable(found)  # what cannot be drawn is said here, not while IPython shows it
    return Answer(results, rows_of(results), form, found, notes)


def question(line: str, names: Mapping[str, object]) -> object:
    """Give the answer to a question; a name of the notebook stands for its task, value or run.

    `explore` gives the widget of a run instead.

    Raises:
        LineageError: it is not known, or nothing is meant.
    """
    words = words_of(line)
    if words[:1] == ["explore"]:
        return _explored(words[1:], names)
    get_session().driver.flush()
    g = lineage()
    if words and words[0] in ("made-by", "used-by") and words[1:2] and words[1] in names:
        if len(words) > 2:
            raise LineageError(f"ask {words[0]} X, not {line!r}")
        meant = names[words[1]]
        asked = made_by if words[0] == "made-by" else used_by
        rows = asked(g, meant, giver=giver_of(meant))
    else:
        rows = ask(g, _runs_meant(words, names), more=("explore",))
    return Answer(rows, rows)


def _runs_meant(words: list[str], names: Mapping[str, object]) -> list[str]:
    """The words; behind `diff`, names of the notebook's runs or of their ids stand for those."""
    if words[:1] != ["diff"]:
        return words
    found = [names.get(word) if word != "last" else None for word in words]
    return [
        one.id if isinstance(one, Run) else one if isinstance(one, str) else word
        for one, word in zip(found, words, strict=True)
    ]


def _explored(words: list[str], names: Mapping[str, object]) -> object:
    if len(words) > 1:
        raise LineageError(f"ask explore [RUN], not {' '.join(['explore', *words])!r}")
    meant = names.get(words[0], words[0]) if words else "last"
    return explore(meant)


def _options(line: str) -> tuple[Form, str | None, str]:
    """Read the options at the start of a line; gives form, run, and what follows."""
    form: Form = "table"
    run: str | None = None
    rest = line.strip()
    while rest.startswith("-"):
        word, _, rest = rest.partition(" ")
        name, equals, value = word.partition("=")
        if name == "--run":
            if not equals:
                value, _, rest = rest.strip().partition(" ")
            run = value.strip("'\"")
            if not run:
                raise LineageError("%%gremlin: --run wants the id of a run, or `last`")
        elif word in _FORMS:
            form = _FORMS[word]
        else:
            near = suggestion(word, [*_FORMS, "--run"])
            raise LineageError(f"%%gremlin: unknown option {word!r}{near}")
        rest = rest.strip()
    return form, run, rest
