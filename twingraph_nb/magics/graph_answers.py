"""What ``%%gremlin`` and ``%lineage`` do: ask the session's graph, and show the answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from twingraph_nb.errors import LineageError, suggestion
from twingraph_nb.lineage.answers import elements_of, plain, rows_of
from twingraph_nb.lineage.asking import Row, run_meant
from twingraph_nb.lineage.excerpt import of_run, of_vertices
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.machine import source
from twingraph_nb.lineage.questions import made_by, used_by
from twingraph_nb.lineage.spoken import ask, cells, words_of
from twingraph_nb.lineage.text import read_query
from twingraph_nb.lineage_door import lineage, live_graph
from twingraph_nb.magics.shown import Shown, table
from twingraph_nb.session import get_session

__all__ = ["Answer", "gremlin", "question"]

Form = Literal["table", "graph", "json"]

_FORMS: dict[str, Form] = {"--table": "table", "--graph": "graph", "--json": "json"}
_MOST_ROWS = 200
"""Rows that a table shows; `.rows` has all."""


@dataclass(frozen=True)
class Answer:
    """An answer of the graph: shown as a table, as JSON or as a drawing; iterable as rows.

    results: what Gremlin gave. rows: the same as plain data, one mapping for each. graph: the
    vertices and edges in it. form: how it is shown.
    """

    results: Sequence[object]
    rows: Sequence[Row]
    form: Form = "table"
    graph: Graph = field(default_factory=Graph, repr=False)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return self._json() if self.form == "json" else self._table().text

    def _repr_mimebundle_(self, **_: object) -> dict[str, object] | None:
        if self.form == "graph":
            from twingraph_nb.views.lineage_graph import drawn  # widgets: only when drawn

            bundle = drawn(self.graph)._repr_mimebundle_()
            found = bundle[0] if isinstance(bundle, tuple) else bundle
            return cast("dict[str, object]", found) | {"text/plain": repr(self)}
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
        return table(head, rows, empty="nothing")


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
    graph = live.refresh()
    if run is not None:
        graph = of_run(graph, run_meant(source(graph), run))
    results = read_query(cell, source(graph), names).traversal.to_list()
    vertices, _ = elements_of(results)
    known = [graph.vertices[v.id] for v in vertices if v.id in graph.vertices]
    return Answer(results, rows_of(results), form, of_vertices(known))


def question(line: str, names: Mapping[str, object]) -> Answer:
    """Give the answer to a question; a name of the notebook stands for its task or value.

    Raises:
        LineageError: it is not known, or nothing is meant.
    """
    get_session().driver.flush()
    words, g = words_of(line), lineage()
    if words and words[0] in ("made-by", "used-by") and words[1:2] and words[1] in names:
        if len(words) > 2:
            raise LineageError(f"ask {words[0]} X, not {line!r}")
        rows = (made_by if words[0] == "made-by" else used_by)(g, names[words[1]])
    else:
        rows = ask(g, words)
    return Answer(rows, rows)


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
