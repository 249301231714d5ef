"""``%%gremlin`` and ``%lineage``: the graph of everything that ran, asked from a cell."""

from __future__ import annotations

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand

from twingraph_nb.magics.quiet import says_what_is_wrong

__all__ = ["LineageMagics"]


@magics_class
class LineageMagics(Magics):
    """``%%gremlin`` and ``%lineage``."""

    @no_var_expand
    @line_cell_magic
    @says_what_is_wrong
    def gremlin(self, line: str, cell: str | None = None) -> object:
        """Ask the graph of all runs in Gremlin. The text is parsed, never run as code.

        ::

            %%gremlin [--table|--graph|--json] [--run RUN]
            g.V().has("Task", "state", "failed").order().by("finished", desc).limit(10)

            %gremlin g.V().hasLabel("Task").groupCount().by("state")

        Java's spelling (`outE`, `as("a")`) and Python's (`out_e`, `as_("a")`) are understood,
        and the notebook's variables may stand for values. The answer has `.results` (what
        Gremlin gives), `.rows` (plain data) and `.graph` (what is in it, as a graph).

        Options::

            --table      a table of the results (default)
            --graph      the graph explorer over the vertices and edges in them
            --json       as JSON
            --run RUN    only that run and what it touches; an id, the start of one, or `last`
        """
        from twingraph_nb.magics import graph_answers  # it loads the engine: only when asked

        return graph_answers.gremlin(line, cell, self._shell.user_ns)

    @no_var_expand
    @line_magic
    @says_what_is_wrong
    def lineage(self, line: str) -> object:
        """Ask what came of what.

        ::

            %lineage made-by X               the tasks that X came from
            %lineage used-by X               the tasks that took it, or something made from it
            %lineage diff RUN RUN            how two runs differ
            %lineage who-changed COMPONENT   its versions: when, by whom, where
            %lineage stale                   results that would come out differently now
            %lineage blast COMPONENT         what a change of it reaches
            %lineage slowest                 where the time goes
            %lineage failures [--since 7d]   what failed, newest first
            %lineage explore [RUN]           a widget to look around in a run (`last`, `all`)
            %lineage schema                  what the graph holds: vertices, edges, properties

        X is a task or a value of this notebook by its name, a task's hash, a digest, or a
        text in an output or an input such as a file's name. RUN is an id, the start of one, a
        run of this notebook or its id by its name, or `last`.

        The same from a terminal: `twingraph lineage QUESTION`; and in Python::

            from twingraph_nb.lineage.questions import made_by

            made_by(twingraph_nb.lineage(), X)   # a list of rows
        """
        from twingraph_nb.magics import graph_answers

        return graph_answers.question(line, self._shell.user_ns)

    @property
    def _shell(self) -> InteractiveShell:
        assert self.shell is not None  # magics are always made with one
        return self.shell
