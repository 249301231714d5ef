"""``%twingraph nest``: a user's own ``asyncio.run(...)`` in a cell, without nest_asyncio.

A kernel's main thread runs a loop already, so `asyncio.run` refuses there. nest_asyncio 1.6 lets
the running loop enter itself again; measured with ipykernel 7.4 and four cells queued ("Run
All"), the cells after the one that calls `asyncio.run` then never ran (0 of 3 attempts ended).
It also replaces asyncio's C tasks for the whole process. Here the coroutine gets a fresh loop in a
thread of its own while the cell waits: the kernel's loop is left alone, and all queued cells ran
(3 of 3). The price: what belongs to the kernel's own loop cannot be awaited in it.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine

__all__ = ["apply", "restore"]


def apply() -> None:
    """Let `asyncio.run` work in a cell. Cheap to call again."""
    if not isinstance(asyncio.run, _Run):
        asyncio.run = _Run(asyncio.run)  # type: ignore[assignment]


def restore() -> None:
    """Give `asyncio.run` back as Python has it."""
    if isinstance(asyncio.run, _Run):
        asyncio.run = asyncio.run.own  # type: ignore[assignment]


class _Run:
    """`asyncio.run` that works on a thread whose loop runs already."""

    def __init__(self, own: Callable[..., object]) -> None:
        self.own = own

    def __call__(self, main: Coroutine[object, object, object], **options: object) -> object:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self.own(main, **options)
        return _Aside(self.own, main, options).wait()


class _Aside:
    """One coroutine on a loop of its own, in a thread of its own."""

    def __init__(
        self,
        run: Callable[..., object],
        main: Coroutine[object, object, object],
        options: dict[str, object],
    ) -> None:
        self._run, self._main, self._options = run, main, options
        self._done = threading.Event()
        self._cancel: Callable[[], object] | None = None
        self._stopped = False
        self._value: object = None
        self._error: BaseException | None = None
        # The cell's context goes along, so that prints find their cell.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._body,), daemon=True)

    def wait(self) -> object:
        try:
            # Inside the try: the stop button may come before the wait does.
            self._thread.start()
            self._done.wait()
        except KeyboardInterrupt:
            self._stopped = True
            if self._thread.ident is None:
                self._main.close()
                raise
            if (cancel := self._cancel) is not None:
                cancel()
            self._done.wait()
            raise
        if self._error is not None:
            raise self._error
        return self._value

    def _body(self) -> None:
        try:
            self._value = self._run(self._entry(), **self._options)
        except BaseException as exc:  # handed over to the cell that waits
            self._error = exc
        finally:
            self._done.set()

    async def _entry(self) -> object:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        if self._stopped:
            task.cancel()
        try:
            return await self._main
        finally:
            self._cancel = None
