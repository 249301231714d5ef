"""Calls of components and pipelines: checked, wired, handed to the driver."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import copy_context
from functools import partial
from typing import Protocol

from twingraph_nb.amounts import count_of
from twingraph_nb.component import Component, Pipeline, shelf
from twingraph_nb.errors import ArgumentError, CycleError, RunError, WiringError
from twingraph_nb.events import RunForm, TaskForm
from twingraph_nb.graph.flow import Flow, Results
from twingraph_nb.graph.refs import check_types, needs_of
from twingraph_nb.graph.run import Run
from twingraph_nb.graph.scope import Scope, current_scope
from twingraph_nb.graph.task import Ref, Task
from twingraph_nb.policy import RunOptions
from twingraph_nb.scheduler.blocks import Block
from twingraph_nb.scheduler.choosing import selectable
from twingraph_nb.scheduler.drive import Driver
from twingraph_nb.scheduler.live import LiveRun
from twingraph_nb.scheduler.maps import WINDOW, Given
from twingraph_nb.selection import ANY, Selection

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
        selected: Selection = ANY,
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
        self,
        component: Component,
        items: object,
        common: dict[str, object],
        parent: object,
        flow: Flow | None = None,
    ) -> Task:
        """Start a map; see `Component.map`. `flow` takes the results one by one."""
        window = _window(component, common)
        collect = bool(_taken(component, common, "collect", True))
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
            items = _items(component, items)
        needs = needs_of({"items": items}) if lazy else []
        if parent is not None:
            needs.extend(self._parents(parent, component.name))
        shown = {component.inputs[0].name: items, **common}
        given = Given(
            items,
            common,
            window=window,
            collect=collect,
            flow=flow,
            context=copy_context() if isinstance(items, Iterator) else None,
        )
        bound: dict[str, object] = {"given": given, "shown": shown}
        scope = current_scope()
        if scope is None:
            return self._loose().new_task(component, bound, needs, name=component.name, form="map")
        return self._inside(scope, component, bound, needs, component.name, form="map")

    def imap(
        self,
        component: Component,
        items: object,
        common: dict[str, object],
        parent: object,
    ) -> Results:
        """Give the results of a map one by one; see `Component.imap`."""
        return Results(partial(self.map, component, items, common, parent), component.name)

    def block(self, name: str, block: Block) -> Task:
        """Open a block: calls in its scope are its members."""
        shown: dict[str, object] = {"policy": block.policy.text} if block.values else {}
        bound: dict[str, object] = {"block": block, "shown": shown}
        scope = current_scope()
        if scope is None:
            task = self._loose().new_task(None, bound, (), name=name, form="pipeline")
        else:
            task = self._inside(scope, None, bound, [], name, form="pipeline")
        if isinstance(task.link, LiveRun):  # and not a plan
            task.link.blocks.add(task.number)
        return task

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
        selected: Selection = ANY,
    ) -> Run:
        """Start a run of a pipeline.

        Args:
            resumes: an earlier run whose finished tasks are taken over.
            selected: what of it is to run.
        Raises:
            WiringError: something that is selected cannot be there.
            RunError: that run still runs, or another one resumes it.
        """
        if selected:
            selected.check(selectable())
        if resumes:
            self.driver.flush_to_disk()  # it may be a run of this process that has just ended
        run = self._new_run(
            pipeline.name,
            "pipeline",
            pipeline.options,
            _shown(pipeline, args, kwargs),
            arguments=(args, kwargs),
            resumes=resumes,
            selected=selected,
        )
        run.again = lambda chosen: self.begin(_newest(pipeline), args, kwargs, run.id, chosen)
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
        above = scope.above
        if run.state.stopping and run.last.isdisjoint(above):
            raise RunError(f"{name} was called, but run {run.id} is stopping")
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


def _taken(component: Component, common: dict[str, object], option: str, default: object) -> object:
    """Take an option of a map out of its arguments, unless an input is called so."""
    if any(port.name == option for port in component.inputs):
        return default
    return common.pop(option, default)


def _window(component: Component, common: dict[str, object]) -> int:
    try:
        return count_of(_taken(component, common, "window", 0)) or WINDOW
    except ValueError as exc:
        raise ArgumentError(component.name, f"window {exc}", component.signature) from None


def _items(component: Component, items: object) -> object:
    """The items of a map as they are now; an iterator is left for later."""
    if isinstance(items, (tuple, range, Iterator)):
        return items
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, Iterable):
        raise ArgumentError(
            component.name,
            f".map wants a list of items, not {type(items).__name__}",
            component.signature,
        )
    return list(items)


def _shown(
    pipeline: Pipeline, args: Sequence[object], kwargs: Mapping[str, object]
) -> dict[str, object]:
    return dict(zip([p.name for p in pipeline.inputs], args, strict=False)) | dict(kwargs)


def _newest(pipeline: Pipeline) -> Pipeline:
    """The pipeline as it is defined now: its cell may have been edited since.

    One of another module is another pipeline, whatever its name.
    """
    found = shelf.pipelines.get(pipeline.name, pipeline)
    return found if found.function.__module__ == pipeline.function.__module__ else pipeline


class _Body:
    """A pipeline's function with its arguments."""

    __slots__ = ("args", "func", "kwargs")

    def __init__(
        self, pipeline: Pipeline, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> None:
        self.func, self.args, self.kwargs = pipeline.function, tuple(args), dict(kwargs)

    def __call__(self) -> object:
        return self.func(*self.args, **self.kwargs)
