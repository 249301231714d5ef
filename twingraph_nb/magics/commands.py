"""The magics themselves: parse the line, ask, show."""

from __future__ import annotations

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from IPython.display import display

from twingraph_nb.component import Component, Pipeline
from twingraph_nb.magics.define import Made, define_component, define_pipeline, start
from twingraph_nb.magics.quiet import says_what_is_wrong
from twingraph_nb.magics.shown import Shown
from twingraph_nb.source.portability import check
from twingraph_nb.views import card

__all__ = ["TwingraphMagics"]


@magics_class
class TwingraphMagics(Magics):
    """``%%component``, ``%%pipeline`` and ``%twingraph``."""

    @no_var_expand
    @cell_magic
    @says_what_is_wrong
    def component(self, line: str, cell: str) -> object:
        """Make a component of this cell. Nothing runs until it is called.

        ::

            %%component [name] [options]
            %%component name(inputs) [-> outputs] [options]

        **Definition form**: the cell has functions. The last one becomes the component, or the
        one named on the line. Everything else in the cell (imports, constants, helpers) is run
        in the notebook as usual::

            %%component clean --retries 3
            import re
            def clean(raw: list[str]) -> list[str]:
                return [re.sub(r"\\s+", " ", one) for one in raw]

        **Body form**: the whole cell becomes the function. The line names its inputs and
        outputs. Names that the cell assigns are local to it::

            %%component clean(raw: list, threshold=0.5) -> rows, dropped
            rows = [r for r in raw if r > threshold]
            dropped = len(raw) - len(rows)

        Without a signature the inputs are what the notebook holds as data or other components
        give, and the outputs are the names that the cell assigns. The card shows what was
        found; a cell that leaves a choice is refused with a line to write.

        Then call it: ``task = clean(load("x"))``, wait: ``task.result()`` or ``await task``.
        Run the cell again and it is replaced, with the next version if its code has changed.

        Options::

            --run                  run it once with its defaults; an input without one takes
                                   the notebook's value of the same name
            --platform NAME        local (default), process, docker, kubernetes, lambda, batch,
                                   celery or dask; `%twingraph platforms` says what is ready
            --lang rust            the cell is javascript, typescript, bash, c++ or rust
            --python 3.12          another Python, --deps "pandas>=2" packages of its own
            --name NAME            another name than the function's
            --retries 3            attempts after the first
            --backoff KIND         fixed, linear, exponential (default)
            --delay 0.5            seconds before the second attempt
            --max-delay 60         most seconds between two attempts
            --jitter 0.1           share of the delay that is random
            --retry-on A B         retry only on these exceptions
            --timeout 30s          time one attempt may take
            --cache 1h             reuse an equal task's result for that long; alone: for ever
            --priority 2           larger goes first
            --cpus 1 --memory 2g   what it takes of this machine
            --max-parallel 4       most tasks of it at once
        """
        return self._show(define_component(self._shell, line, cell))

    @no_var_expand
    @cell_magic
    @says_what_is_wrong
    def pipeline(self, line: str, cell: str) -> object:
        """Make a pipeline of this cell. Calling it starts a run; nothing runs before that.

        ::

            %%pipeline name [options]
            %%pipeline name(inputs) [-> outputs] [options]

        The cell either defines a function (it becomes the pipeline), or is itself the body:
        plain Python that calls components, with loops, conditions and other pipelines as you
        like. A body's result is what the line names as outputs, else the last expression::

            %%pipeline census(folder="data") -> report
            files = list_files(folder)
            report = summarise(parse.map(files))

        Then ``run = census()``; wait with ``run.result()`` or ``await run``.

        Options::

            --run                  start it now
            --max-parallel 4       most tasks at once
            --timeout 10m          time the whole run may take
            --on-error continue    finish what does not depend on a failure (default: fail_fast)
        """
        return self._show(define_pipeline(self._shell, line, cell))

    @no_var_expand
    @line_magic
    @says_what_is_wrong
    def plan(self, line: str) -> object:
        """Show what a call of a pipeline would run, reuse or cannot tell yet, and why.

        ::

            %plan census(folder="data")
            %plan census() --resume last            as if that run were resumed
            %plan census() --to clean,join          if just these ran, and what they need

        Also --only, --skip, --force and --from. The pipeline's function is called, its components
        are not. See `Pipeline.plan`.
        """
        from twingraph_nb.magics import planning  # it loads the picture: only when asked

        return planning.plan(self._shell, line)

    @no_var_expand
    @line_magic
    @says_what_is_wrong
    def twingraph(self, line: str) -> object:
        """Look at this session and its runs.

        ::

            %twingraph status        what runs now, and where it is recorded
            %twingraph runs          the latest runs, of all notebooks
            %twingraph show RUN      one run; an id, the beginning of one, a name, or `last`
            %twingraph run CALL      start a pipeline, of which only a part runs: census()
                                     [--only|--to|--skip|--force|--from NAMES] [--resume RUN]
            %twingraph cancel RUN    stop one run
            %twingraph pause RUN     begin no further task of it; what runs is let finish
            %twingraph resume RUN    let a paused run go on; start a run that takes over what
                                     an ended one has finished; of all that only
                                     [--only|--to|--skip|--force|--from NAMES]
            %twingraph answer RUN    what it asks; with [TASK] VALUE, the answer to that
            %twingraph diff RUN RUN  how two runs differ: code, inputs, outputs, times
            %twingraph components    the components and pipelines of this session
            %twingraph platforms     where components can run
            %twingraph lineage URL   write the graph to Gremlin Server or Neptune too; or off
            %twingraph nest [off]    let your own asyncio.run(...) work in cells
        """
        from twingraph_nb.magics import status  # it loads the picture: only when asked

        return status.answer(self._shell, line)

    @property
    def _shell(self) -> InteractiveShell:
        assert self.shell is not None  # magics are always made with one
        return self.shell

    def _show(self, defined: Made) -> object:
        """Show the card, and start it if the line says so."""
        made = defined.made
        warnings: list[str] = []
        if getattr(made, "language", "python") == "python":  # others reach nothing of the notebook
            warnings = [found.message for found in check(made.function, made.source)]
        display(_card(made, warnings, inferred=defined.inferred))  # type: ignore[no-untyped-call]
        return start(made, self._shell.user_ns) if defined.run else None


def _card(made: Component | Pipeline, warnings: list[str], *, inferred: bool) -> Shown:
    if isinstance(made, Pipeline):
        return Shown(card.pipeline_text(made, warnings), card.pipeline_html(made, warnings))
    return Shown(
        card.component_text(made, warnings, inferred=inferred),
        card.component_html(made, warnings, inferred=inferred),
    )
