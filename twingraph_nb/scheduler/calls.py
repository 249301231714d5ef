"""Calls of components and pipelines: checked, wired, handed to the driver."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from twingraph_nb.component import Component, Pipeline, shelf
from twingraph_nb.errors import ArgumentError, CycleError, RunError, WiringError, suggestion
from twingraph_nb.events import RunForm, TaskForm
from twingraph_nb.graph.refs import check_types, needs_of
from twingraph_nb.graph.run import Run
from twingraph_nb.graph.scope import Scope, current_scope
from twingraph_nb.graph.task import Ref, Task
from twingraph_nb.policy import RunOptions
from twingraph_nb.scheduler.drive import Driver
from twingraph_nb.scheduler.forced import Forced
from twingraph_nb.scheduler.live import LiveRun

__all__ = ["Calls"]

DEEPEST = 200
"""Tasks inside tasks; deeper than that is taken for a recursion without end."""
Arguments = tuple[tuple[object, ...], dict[str, object]]


class NewRun(Protocol):
    """Makes a run; `arguments` are its pipeline's, `resumes` an earlier run it takes over from."""

    def __call__(
        self,
        name: str,
        form: RunForm,
        options: RunOptions,
        params: Mapping[str, object],
        *,
        arguments: Arguments | None = None,
        resumes: str = "",
    ) -> LiveRun: ...


class Calls:
    """Turns calls into tasks and runs. Safe from any thread.

    loose: gives the run of loose calls. new_run: makes another.
    """

    def __init__(self, driver: Driver, loose: Callable[[], LiveRun], new_run: NewRun) -> None:
        self.driver, self._loose, self._new_run = driver, loose, new_run

    def call(self, component: Component, bound: dict[str, object], parent: object) -> Task:
        """Start a task of a component; see `Component.__call__`."""
        needs = needs_of(bound)
        if needs and component.typed:
            check_types(component.name, component.inputs, bound)
        scope = current_scope()
        run: LiveRun = self._loose() if scope is None else scope.link  # type: ignore[assignment]
        if parent is not None:
            needs.extend(self._parents(parent, component.name))
        if scope is None:
            return run.new_task(component, bound, needs, name=component.name)
        return self._inside(scope, component, bound, needs, component.name)

    def map(
        self, component: Component, items: object, common: dict[str, object], parent: object
    ) -> Task:
        """Start a map; see `Component.map`."""
        if not component.inputs:
            raise ArgumentError(component.name, "has no input to map over", component.signature)
        if component.inputs[0].name in common:
            name = component.inputs[0].name
            raise ArgumentError(
                component.name, f"{name!r} comes from the items", component.signature
            )
        component.bind((None,), common)
        lazy = isinstance(items, (Task, Ref, Run))
        if not lazy:
            if isinstance(items, (str, bytes, Mapping)) or not hasattr(items, "__iter__"):
                raise ArgumentError(
                    component.name,
                    f".map wants a list of items, not {type(items).__name__}",
                    component.signature,
                )
            items = list(items)
        needs = needs_of({"items": items}) if lazy else []
        if parent is not None:
            needs.extend(self._parents(parent, component.name))
        shown = {component.inputs[0].name: items, **common}
        bound = {"items": items, "common": common, "shown": shown}
        scope = current_scope()
        if scope is None:
            return self._loose().new_task(component, bound, needs, name=component.name, form="map")
        return self._inside(scope, component, bound, needs, component.name, form="map")

    def start(
        self,
        pipeline: Pipeline,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        parent: object,
    ) -> Run | Task:
        """Start a run; inside a pipeline or component, a group of its run."""
        scope = current_scope()
        if scope is not None:
            function = _Body(pipeline, args, kwargs)
            shown = _shown(pipeline, args, kwargs)
            needs = [] if parent is None else self._parents(parent, pipeline.name)
            bound: dict[str, object] = {"function": function, "args": (), "shown": shown}
            return self._inside(scope, None, bound, needs, pipeline.name, form="pipeline")
        if parent is not None:
            raise WiringError(f"{pipeline.name}: parent_hash= needs a pipeline around it")
        return self.begin(pipeline, args, kwargs)

    def begin(
        self,
        pipeline: Pipeline,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        resumes: str = "",
        force: Iterable[str] = (),
    ) -> Run:
        """Start a run of a pipeline.

        Args:
            resumes: an earlier run whose finished tasks are taken over.
            force: names of components that run in any case; see `Forced`.
        Raises:
            WiringError: no component has a name that is to be forced.
            RunError: that run still runs, or another one resumes it.
        """
        for name in force:
            if name not in shelf.components:
                near = suggestion(name, shelf.components)
                raise WiringError(f"force: no component is called {name!r}{near}")
        if resumes:
            self.driver.flush_to_disk()  # it may be a run of this process that has just ended
        run = self._new_run(
            pipeline.name,
            "pipeline",
            pipeline.options,
            _shown(pipeline, args, kwargs),
            arguments=(args, kwargs),
            resumes=resumes,
        )
        run.forced = Forced(force)
        run.again = lambda: self.begin(_newest(pipeline), args, kwargs, resumes=run.id)
        self.driver.run_body(run, _Body(pipeline, args, kwargs))
        return run.handle

    def _inside(
        self,
        scope: Scope,
        component: Component | None,
        bound: dict[str, object],
        needs: list[tuple[Task, str, str]],
        name: str,
        form: TaskForm = "call",
    ) -> Task:
        """A call made by a pipeline's body or by a running component."""
        run: LiveRun = scope.link  # type: ignore[assignment]
        if run.state.stopping:
            raise RunError(f"{name} was called, but run {run.id} is stopping")
        above = scope.above
        if above:
            if len(above) > DEEPEST:
                raise WiringError(
                    f"{name}: tasks call tasks {DEEPEST} deep; is there an end to it?"
                )
            for task, _, _ in needs:
                if task.link is run and task.number in above:
                    raise CycleError([name, task.name, name])
        return run.new_task(
            component,
            bound,
            needs,
            name=name,
            form=form,
            group=scope.group,
            above=above,
        )

    def _parents(self, parent: object, name: str) -> list[tuple[Task, str, str]]:
        """The tasks that `parent_hash=` names: a hash, a task, or a list of both."""
        several = parent if isinstance(parent, (list, tuple, set)) else [parent]
        found: list[tuple[Task, str, str]] = []
        for one in several:
            if isinstance(one, Task):
                found.append((one, "", ""))
            elif isinstance(one, Ref):
                found.append((one.task, "", ""))
            elif isinstance(one, str):
                task = self._task_of(one)
                if task is None:
                    raise WiringError(f"{name}: no task of this session has the hash {one!r}")
                found.append((task, "", ""))
            else:
                raise WiringError(
                    f"{name}: parent_hash wants a hash, a task or a list of them, "
                    f"not {type(one).__name__}"
                )
        return found

    def _task_of(self, hash: str) -> Task | None:
        scope = current_scope()
        inside = [] if scope is None else [scope.link.handle]  # type: ignore[attr-defined]
        for run in [*inside, *self.driver.handles.values()]:
            if hash.startswith(run.id):
                return next((t for t in run.tasks if t.hash == hash), None)
        return None


def _shown(
    pipeline: Pipeline, args: Sequence[object], kwargs: Mapping[str, object]
) -> dict[str, object]:
    return dict(zip([p.name for p in pipeline.inputs], args, strict=False)) | dict(kwargs)


def _newest(pipeline: Pipeline) -> Pipeline:
    """The pipeline as it is defined now: its cell may have been edited since."""
    return shelf.pipelines.get(pipeline.name, pipeline)


class _Body:
    """A pipeline's function with its arguments."""

    __slots__ = ("args", "func", "kwargs")

    def __init__(
        self, pipeline: Pipeline, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> None:
        self.func, self.args, self.kwargs = pipeline.function, tuple(args), dict(kwargs)

    def __call__(self) -> object:
        return self.func(*self.args, **self.kwargs)
