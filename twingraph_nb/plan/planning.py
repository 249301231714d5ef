"""Planning: a pipeline's function is called, and its tasks say what a run would do with them.

The function sees what it would see in a run that has just begun: what is kept has its value, so
that conditions and loops go on. Where it looks at a value that has yet to be made, the plan ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Protocol

from twingraph_nb.component import Pipeline
from twingraph_nb.errors import RunError
from twingraph_nb.events import Batch
from twingraph_nb.plan.history import History, Names
from twingraph_nb.plan.model import Plan
from twingraph_nb.plan.planned import PlannedRun
from twingraph_nb.scheduler.earlier import Earlier
from twingraph_nb.store import Store

__all__ = ["Planner", "plan_of"]


class Previews(Protocol):
    """Gives what a run would take over; nothing is claimed."""

    def preview(
        self, resumes: str, events: Callable[[str], list[Batch]] | None = None
    ) -> Earlier | None: ...


class Flushes(Protocol):
    """Sees to it that all events so far are on disk."""

    def flush_to_disk(self) -> None: ...


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
    force: Iterable[str] = (),
) -> Plan:
    """Give what a run of a pipeline would do now; see `Pipeline.plan`.

    Raises:
        RunError: the run to be resumed is not known, or still runs.
        WiringError: `force` names what the pipeline does not call.
        Exception: what the pipeline's function raises.
    """
    session.driver.flush_to_disk()
    store = session.store
    if store is None:
        if resume:
            raise RunError("this session is not recorded: there is no earlier run to go on with")
        history = History(None, pipeline.name, "", Names())
        return _followed(PlannedRun(history, None, None, force), pipeline, arguments)
    resumes = store.resolve(resume) if resume else ""
    events = lru_cache(maxsize=None)(store.events)
    earlier = session.resuming.preview(resumes, events)
    history = History(store, pipeline.name, resumes, Names(), events)
    with store.looking() as look:
        return _followed(PlannedRun(history, look, earlier, force), pipeline, arguments)


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
    run.expect(stopped)
    run.check_forced()
    return Plan(pipeline.name, run.rows(), run.about, note, run.platforms)
