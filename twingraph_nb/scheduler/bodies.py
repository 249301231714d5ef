"""What is called a task but calls others itself: pipelines and maps."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from typing import TYPE_CHECKING

from twingraph_nb.context import current_report
from twingraph_nb.errors import TaskError
from twingraph_nb.events import BodyDone, BodyErred, MapExpanded, RunTimedOut
from twingraph_nb.executors.threads import Interrupted, Threads
from twingraph_nb.graph.refs import needs_of, resolve
from twingraph_nb.graph.remote_value import RemoteParts, RemoteValue
from twingraph_nb.graph.scope import Body
from twingraph_nb.graph.summary import summary
from twingraph_nb.graph.task import Task
from twingraph_nb.scheduler.failures import error_info, user_part
from twingraph_nb.scheduler.live import fetched

if TYPE_CHECKING:
    from twingraph_nb.scheduler.attempts import Attempts
    from twingraph_nb.scheduler.drive import Driver
    from twingraph_nb.scheduler.live import LiveRun

__all__ = ["Bodies"]

_AT_ONCE = 500
"""Items of a map that are added before other work gets a turn."""
_MOST_BODIES = 1000
"""Pipelines with a sync body that may be open at once; each holds a thread."""


class Bodies:
    """Runs the functions of pipelines, and maps."""

    def __init__(self, driver: Driver, attempts: Attempts) -> None:
        self._driver, self._attempts = driver, attempts
        self._threads = Threads(_MOST_BODIES, "twingraph-pipeline")

    def close(self) -> None:
        """Let the threads of sync pipelines end when they are through."""
        self._threads.close()

    async def root(
        self, run: LiveRun, function: Callable[..., object], args: tuple[object, ...]
    ) -> None:
        """Run the function of a run's own pipeline to its end."""
        driver = self._driver
        current_report.set(Body(run, None))
        try:
            returned = await self._call(function, args)
            run.value = await _value(returned)
            driver.happen(run, BodyDone(driver.now(), summary(run.value)))
        except asyncio.CancelledError:
            if run.state.stopping:
                return
            error: BaseException = TaskError(f"the function of {run.handle.name} was cancelled")
            self._body_erred(run, error)
        except Interrupted:
            return
        except Exception as exc:
            self._body_erred(run, exc)
        except BaseException as exc:
            error = TaskError(f"the function of {run.handle.name} raised {type(exc).__name__}")
            self._body_erred(run, error)

    def _body_erred(self, run: LiveRun, error: BaseException) -> None:
        driver = self._driver
        error = user_part(error)
        if run.error is None:
            run.error = error
        driver.happen(
            run, BodyErred(driver.now(), error_info(error, run.handle.name, None, note=False))
        )

    def time_out(self, run: LiveRun) -> None:
        """The run's timeout is over."""
        if run.finished is None:
            driver = self._driver
            driver.happen(run, RunTimedOut(driver.now(), run.options.timeout or 0.0))

    def group(self, run: LiveRun, task: Task) -> Coroutine[object, object, None]:
        """Give the work of a map's or nested pipeline's task."""
        work = self._map if task.form == "map" else self._nested
        return self._group(run, task, work)

    async def _group(
        self, run: LiveRun, task: Task, work: Callable[[LiveRun, Task], Awaitable[object]]
    ) -> None:
        try:
            value = await work(run, task)
        except asyncio.CancelledError as exc:
            self._attempts.cancelled(run, task, str(exc.args[0]) if exc.args else "")
        except Interrupted:
            self._attempts.cancelled(run, task, "interrupted")
        except Exception as exc:
            self._attempts.fail(run, task, 1, exc)
        else:
            self._attempts.done_group(run, task, value)

    async def _nested(self, run: LiveRun, task: Task) -> object:
        bound = task.bound or {}
        current_report.set(Body(run, task.number, (*task.above, task.number)))
        function, args = bound["function"], bound["args"]
        return await _value(await self._call(function, args))  # type: ignore[arg-type]

    async def _call(self, function: Callable[..., object], args: tuple[object, ...]) -> object:
        if inspect.iscoroutinefunction(getattr(function, "func", function)):
            return await function(*args)  # type: ignore[misc]
        return await self._threads.run(lambda: function(*args))

    async def _map(self, run: LiveRun, task: Task) -> object:
        driver, component = self._driver, task.component
        bound = task.bound or {}
        first = component.inputs[0].name
        items = bound["items"]
        if not isinstance(items, list):
            await _here(items)
            items = _listed(resolve(items), task.name)
        common: dict[str, object] = bound["common"]  # type: ignore[assignment]
        driver.happen(run, MapExpanded(driver.now(), task.number, len(items)))
        children: list[Task] = []
        shared = needs_of(common)
        watch = _Watch(len(items), run.options.on_error == "fail_fast")
        for index, item in enumerate(items):
            arguments = {first: item, **common}
            needs = [*needs_of({first: item}), *shared]
            child = run.new_task(
                component,
                arguments,
                needs,
                name=f"{component.name}[{index}]",
                group=task.number,
                index=index,
                above=(*task.above, task.number),
            )
            children.append(child)
            child.when_done(lambda child=child: watch.ended(child))  # type: ignore[misc]
            if index % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
        if items:
            await watch.over
        failed = [c for c in children if c.done and c.exception() is not None]
        if failed:
            for child in children:
                if not child.done:
                    child.cancel()
            error = failed[0].exception()
            assert error is not None
            if len(failed) > 1:
                error.add_note(f"{len(failed)} of {len(children)} items of {task.name} failed")
            raise error
        found = [child.peek() for child in children]
        remote = any(isinstance(value, RemoteValue) for value in found)
        return RemoteParts(found) if remote else found


class _Watch:
    """Counts the items of a map that have ended."""

    def __init__(self, count: int, fail_fast: bool) -> None:
        self._left, self._fail_fast = count, fail_fast
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ended(self, child: Task) -> None:
        self._left -= 1
        failed = self._fail_fast and child.exception() is not None
        if (not self._left or failed) and not self.over.done():
            self.over.set_result(None)


def _listed(items: object, name: str) -> list[object]:
    if not isinstance(items, Iterable) or isinstance(items, (str, bytes)):
        raise TaskError(
            f"{name} maps over a list of items, but got {type(items).__name__}: give a list"
        )
    return list(items)


async def _value(returned: object) -> object:
    """What a pipeline returned, with the values of tasks put in once they are there."""
    for task, _, _ in needs_of({"value": returned}):
        await _Quiet(task)
    await _here(returned)
    return resolve(returned)


async def _here(value: object) -> None:
    """Bring the values here of the tasks in it, all finished."""
    for task, _, _ in needs_of({"value": value}):
        await fetched(task)


class _Quiet:
    """Waits for a task without a say in its errors."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def __await__(self) -> Generator[object, None, None]:
        if not self._task.done:
            loop = asyncio.get_running_loop()
            ended = asyncio.Event()
            self._task.when_done(lambda: loop.call_soon_threadsafe(ended.set))
            yield from ended.wait().__await__()
