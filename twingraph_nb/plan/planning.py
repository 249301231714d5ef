"""Planning: a pipeline's function is called, and its tasks say what a run would do with them.

The function sees what it would see in a run that has just begun: what is kept has its value, so
that conditions and loops go on. Where it looks at a value that has yet to be made, the plan ends.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Protocol

from twingraph_nb.component import Pipeline
from twingraph_nb.errors import RunError
from twingraph_nb.events import Batch
from twingraph_nb.interpreter import without_gc
from twingraph_nb.plan.history import History, Names
from twingraph_nb.plan.model import Plan
from twingraph_nb.plan.planned import PlannedRun
from twingraph_nb.plan.selected import SelectedRun
from twingraph_nb.scheduler.choosing import selectable
from twingraph_nb.scheduler.earlier import Earlier
from twingraph_nb.selection import ANY, Selection
from twingraph_nb.store import Look, Store

__all__ = ["Planner", "plan_of"]


class Previews(Protocol):
    """Gives what a run would take over; nothing is claimed."""

    def preview(
        self, resumes: str, events: Callable[[str], list[Batch]] | None = None
    ) -> Earlier | None: ...


class Flushes(Protocol):
    """Sees to it that all events so far are on disk."""

    def flush_to_disk(self) -> object: ...


class Planner(Protocol):
    """The part of a session that planning needs."""

    @property
    def store(self) -> Store | None: ...
    @property
    def driver(self) -> Flushes: ...
    @property
    def resuming(self) -> Previews: ...


def plan_of(
    session: Planner,
    pipeline: Pipeline,
    arguments: tuple[tuple[object, ...], dict[str, object]],
    resume: str = "",
    selected: Selection = ANY,
) -> Plan:
    """Give what a run of a pipeline would do now; see `Pipeline.plan`.

    Raises:
        RunError: the run to be resumed is not known, or still runs.
        WiringError: something is selected that the pipeline does not call.
        Exception: what the pipeline's function raises.
    """
    if selected:
        selected.check(selectable())
    session.driver.flush_to_disk()
    store = session.store
    if store is None:
        if resume:
            raise RunError("this session is not recorded: there is no earlier run to go on with")
        history = History(None, pipeline.name, "", Names())
        return _followed(_run(history, None, None, selected), pipeline, arguments)
    resumes = store.resolve(resume) if resume else ""
    events = lru_cache(maxsize=None)(store.events)
    earlier = session.resuming.preview(resumes, events)
    history = History(store, pipeline.name, resumes, Names(), events)
    with store.looking() as look, without_gc(len(history.keys)):
        return _followed(_run(history, look, earlier, selected), pipeline, arguments)


def _run(
    history: History, look: Look | None, earlier: Earlier | None, selected: Selection
) -> PlannedRun:
    if not selected:
        return PlannedRun(history, look, earlier)
    return SelectedRun(history, look, earlier, selected)


def _followed(
    run: PlannedRun,
    pipeline: Pipeline,
    arguments: tuple[tuple[object, ...], dict[str, object]],
) -> Plan:
    args, kwargs = arguments
    stopped = run.follow(partial(pipeline.function, *args, **kwargs))
    note = ""
    if stopped is not None:
        note = (
            f"{pipeline.name} looks at the value of {stopped.name}, which has to run first: "
            f"what follows is known only then"
        )
    elif isinstance(run, SelectedRun):
        note = run.note
    run.expect(stopped)
    run.check()
    return Plan(pipeline.name, run.rows(), run.about, note, run.platforms)
