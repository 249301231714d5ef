"""What is called a task but calls others itself: pipelines and maps."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import TYPE_CHECKING

from twingraph_nb.context import current_report
from twingraph_nb.errors import TaskError, TaskSkipped
from twingraph_nb.events import BodyDone, BodyErred, RunTimedOut
from twingraph_nb.executors.threads import Interrupted, Threads
from twingraph_nb.graph.refs import needs_of, resolve
from twingraph_nb.graph.scope import Body
from twingraph_nb.graph.summary import summary
from twingraph_nb.graph.task import Task
from twingraph_nb.scheduler.blocks import BlockWork, block_of
from twingraph_nb.scheduler.failures import error_info, user_part
from twingraph_nb.scheduler.inputs import fetched_all
from twingraph_nb.scheduler.maps import MapWork
from twingraph_nb.scheduler.unheard import plain

if TYPE_CHECKING:
    from twingraph_nb.scheduler.attempts import Attempts
    from twingraph_nb.scheduler.drive import Driver
    from twingraph_nb.scheduler.live import LiveRun

__all__ = ["Bodies"]

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
            call = self._call(run, None, function, args)
            if run.choosing is None:
                run.value = await _value(await call)
            else:
                run.value = await run.choosing.follow(call, _value)
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
        if block_of(task) is not None:
            return self._group(run, task, self._block)
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
            if run.choosing is not None and isinstance(exc, TaskSkipped):
                run.choosing.leave(task, "part of it is left out")
            else:
                self._attempts.fail(run, task, 1, exc)
        except BaseException as exc:  # what ends programs must not end the loop
            error = TaskError(f"the code of {task.name} raised {type(exc).__name__}")
            self._attempts.fail(run, task, 1, error)
        else:
            self._attempts.done_group(run, task, value)

    async def _nested(self, run: LiveRun, task: Task) -> object:
        bound = task.bound or {}
        current_report.set(Body(run, task.number, (*task.above, task.number)))
        function, args = bound["function"], bound["args"]
        returned = await self._call(run, task.number, function, args)  # type: ignore[arg-type]
        if run.choosing is not None:
            run.choosing.close(task.number)
        return await _value(returned)

    async def _call(
        self,
        run: LiveRun,
        number: int | None,
        function: Callable[..., object],
        args: tuple[object, ...],
    ) -> object:
        if inspect.iscoroutinefunction(getattr(function, "func", function)):
            return await function(*args)  # type: ignore[misc]
        with plain(run, number):
            return await self._threads.run(lambda: function(*args))

    async def _block(self, run: LiveRun, task: Task) -> object:
        return await BlockWork(self._driver, self._threads, run, task).value()

    async def _map(self, run: LiveRun, task: Task) -> object:
        return await MapWork(self._driver, self._threads, run, task).value()


async def _value(returned: object) -> object:
    """What a pipeline returned, with the values of tasks put in once they are there."""
    for task, _, _ in needs_of({"value": returned}):
        await _Quiet(task)
    await fetched_all(task for task, _, _ in needs_of({"value": returned}))
    return resolve(returned)


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
