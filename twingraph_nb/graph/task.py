"""The handle of one call, and the outputs that may be passed on before they are there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from typing import NoReturn

from twingraph_nb.component import Component
from twingraph_nb.errors import LazyValueError, ResultError, TaskTimeout, WiringError, suggestion
from twingraph_nb.events import TaskForm, TaskStateName
from twingraph_nb.graph.remote_value import RemoteValue
from twingraph_nb.graph.scope import Link, current_scope
from twingraph_nb.graph.waiting import Chunks, Heartbeat

__all__ = ["Outputs", "Ref", "Task"]

_lock = threading.Lock()


class _Lazy:
    """Refuses to be used as a plain value."""

    __slots__ = ()

    def _refuse(self, use: str) -> NoReturn:
        raise LazyValueError(self._shown(), use)

    def _shown(self) -> str:
        raise NotImplementedError

    def __bool__(self) -> NoReturn:
        self._refuse("as a condition")

    def __eq__(self, other: object) -> bool:
        if isinstance(other, _Lazy):
            return self is other
        self._refuse("in a comparison")

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = object.__hash__

    def _compared(self, other: object) -> NoReturn:
        self._refuse("in a comparison")

    __lt__ = __le__ = __gt__ = __ge__ = _compared

    def _computed(self, *others: object) -> NoReturn:
        self._refuse("in a computation")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _computed
    __truediv__ = __rtruediv__ = __floordiv__ = __mod__ = __pow__ = __neg__ = __abs__ = _computed
    __int__ = __float__ = __index__ = __round__ = _computed

    def __len__(self) -> NoReturn:
        self._refuse("with len()")

    def __contains__(self, item: object) -> NoReturn:
        self._refuse("with `in`")


class Ref(_Lazy):
    """One output of a task, as a lazy reference: pass it on, or wait for it."""

    __slots__ = ("port", "task")

    def __init__(self, task: Task, port: str) -> None:
        self.task, self.port = task, port

    def result(self, timeout: float | None = None) -> object:
        """Wait for the value; raises what the task raised. `timeout` in seconds."""
        self.task.result(timeout)
        return self.task.value_of(self.port)

    def __await__(self) -> Generator[object, None, object]:
        yield from self.task.__await__()
        return self.task.value_of(self.port)

    def _shown(self) -> str:
        return f'{self.task.name}.outputs["{self.port}"]'

    def __iter__(self) -> Iterator[object]:
        self._refuse("in a loop")

    def __getitem__(self, key: object) -> object:
        self._refuse("with [...]")

    def __repr__(self) -> str:
        return f"<{self._shown()}, {self.task.state}>"


class Outputs(Mapping[str, object]):
    """The outputs of a task by port: values in a notebook, lazy references inside a pipeline."""

    __slots__ = ("_task",)

    def __init__(self, task: Task) -> None:
        self._task = task

    def __getitem__(self, port: str) -> object:
        names = self._task.ports
        if port not in names:
            raise KeyError(
                f"{self._task.name} has no output {port!r}{suggestion(port, names)}; "
                f"it has {', '.join(names)}"
            )
        scope = current_scope()
        ref = Ref(self._task, port)
        return ref if scope is not None and scope.lazy else ref.result()

    def __iter__(self) -> Iterator[str]:
        return iter(self._task.ports)

    def __len__(self) -> int:
        return len(self._task.ports)

    def __repr__(self) -> str:
        return f"<outputs {', '.join(self)} of {self._task!r}>"


class Task(_Lazy):
    """One call of a component. Await it, take `.result()`, or pass it on to another call.

    hash: unique id of this execution. number: its number within the run. name: the component's,
    or with ``[i]`` for an item of a map. link: the run it belongs to.
    """

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_chunks",
        "_done",
        "_error",
        "_log",
        "_told",
        "_value",
        "above",
        "abroad",
        "bound",
        "component",
        "digest",
        "form",
        "group",
        "hash",
        "index",
        "link",
        "looked",
        "name",
        "needs",
        "number",
        "waiters",
    )

    def __init__(
        self,
        link: Link,
        number: int,
        hash: str,
        component: Component,
        name: str,
        bound: dict[str, object] | None,
        form: TaskForm = "call",
        *,
        group: int | None = None,
        index: int | None = None,
    ) -> None:
        self.link, self.number, self.hash = link, number, hash
        self.component, self.name, self.form = component, name, form
        self.bound = bound  # the arguments, until the task has finished
        self.group, self.index = group, index
        self.above: tuple[int, ...] = ()  # the tasks it is called from, outermost first
        self.needs: Sequence[tuple[Task, str, str]] = ()
        self.abroad = False  # it needs a task of another run
        self.digest: bytes | None = None  # content id, once it is known
        self.waiters = 0
        self._callbacks: list[Callable[[], object]] | None = None
        self._chunks: Chunks | None = None
        self._done = False  # the outcome is set
        self._told = False  # and all who waited know
        self.looked = False  # its error has reached somebody who asked for the outcome
        self._error: BaseException | None = None
        self._value: object = None
        self._log: list[str] | None = None

    # -- what users call ---------------------------------------------------------------------

    @property
    def state(self) -> TaskStateName:
        """How far it is: waiting, ready, running, retrying, or one of the final states."""
        return self.link.state_of(self)

    @property
    def done(self) -> bool:
        """True when nothing will change any more."""
        return self._done

    @property
    def logs(self) -> str:
        """What it has printed so far, stdout and stderr in order."""
        return self.link.log_of(self)

    @property
    def outputs(self) -> Outputs:
        """The outputs by port. In a notebook `[...]` waits for the value."""
        return Outputs(self)

    @property
    def ports(self) -> tuple[str, ...]:
        """The names of the outputs."""
        if self.form != "call":
            return ("value",)
        return tuple(p.name for p in self.component.outputs)

    def result(self, timeout: float | None = None) -> object:
        """Wait for the result; the wait may be interrupted, which asks the task to cancel.

        Args:
            timeout: seconds to wait; the task goes on after that.
        Raises:
            TaskTimeout: it has not finished in that time.
            TaskCancelled, TaskSkipped: it will not.
            Exception: what the component raised.
        """
        __tracebackhide__ = True
        if not self._done:
            self._wait(timeout)
        if self._error is not None:
            raise self._asked_for(self._error)
        return self._value if not isinstance(self._value, RemoteValue) else self._brought()

    def exception(self) -> BaseException | None:
        """Give the error of a finished task, or None."""
        return None if self._error is None else self._asked_for(self._error)

    def cancel(self) -> None:
        """Ask it to stop. Tasks that need it are skipped."""
        self.link.cancel_task(self)

    def answer(self, value: object) -> str:
        """Answer what it asks; see `Run.answer`."""
        return self.link.answer(self.number, value)  # type: ignore[attr-defined, no-any-return]

    def __await__(self) -> Generator[object, None, object]:
        if not self._done:
            yield from self._wait_async()
        if self._error is not None:
            raise self._asked_for(self._error)
        if isinstance(self._value, RemoteValue):
            yield from asyncio.wrap_future(self.link.fetch(self)).__await__()
        return self._value

    async def __aiter__(self) -> AsyncIterator[object]:
        """Give the chunks of a streaming component as they come, from the first."""
        if self.component.style not in ("stream", "async_stream"):
            raise WiringError(f"{self.name} does not stream: `await` it, or `yield` in it")
        at = 0
        while True:
            chunks = self.chunks.items
            while at < len(chunks):
                yield chunks[at]
                at += 1
            if self._done:
                break
            await self.chunks.beyond(at, lambda: self._done)
        await self

    def __getitem__(self, key: str) -> object:
        """``task["outputs"]`` and ``task["hash"]``, as in TwinGraph."""
        if key == "outputs":
            return self.outputs
        if key == "hash":
            return self.hash
        raise KeyError(
            f"a task has 'outputs' and 'hash', not {key!r}; use `.result()` for its value"
        )

    def __iter__(self) -> Iterator[object]:
        """Give a lazy reference for each output: ``rows, dropped = clean(raw)``."""
        if len(self.ports) < 2:
            self._refuse("in a loop")
        return iter([Ref(self, port) for port in self.ports])

    def __len__(self) -> int:  # type: ignore[override]
        if len(self.ports) < 2:
            self._refuse("with len()")
        return len(self.ports)

    def __repr__(self) -> str:
        return f"<task {self.name} {self.state}, hash {self.hash}>"

    # -- what the scheduler calls ------------------------------------------------------------

    @property
    def error(self) -> BaseException | None:
        """The error of a finished task, which thereby reaches nobody."""
        return self._error

    @property
    def chunks(self) -> Chunks:
        """What a streaming component has given so far."""
        if self._chunks is None:
            self._chunks = Chunks()
        return self._chunks

    def value_of(self, port: str) -> object:
        """The value of one output of a finished task ("" = the whole result)."""
        value = self._value
        if isinstance(value, RemoteValue):
            value = self._brought()
        if not port or len(self.ports) == 1:
            return value
        try:
            return value[port] if isinstance(value, Mapping) else getattr(value, port)
        except (KeyError, AttributeError):
            raise ResultError(f"{self.name} gave no output {port!r}") from None

    @property
    def log(self) -> str:
        """What was printed, as far as the scheduler has written it down."""
        return "".join(self._log or ())

    def add_log(self, text: str) -> None:
        """Take in what was printed."""
        if self._log is None:
            self._log = []
        self._log.append(text)

    def peek(self) -> object:
        """The result of a finished task, without raising; a `RemoteValue` if it is elsewhere."""
        return self._value

    def arrived(self, value: object) -> None:
        """Take the value that was elsewhere until now."""
        self._value = value

    def settle(self, value: object, error: BaseException | None = None) -> None:
        """Set the outcome. Once, on the scheduler's thread; `wake` follows."""
        self._value, self._error = value, error
        self._done = True
        self.bound = None
        self.needs = ()

    def wake(self) -> None:
        """Tell all who wait for the outcome."""
        with _lock:
            callbacks, self._callbacks = self._callbacks, None
            self._told = True
        if self._chunks is not None:
            self._chunks.wake()
        if callbacks:
            for callback in callbacks:
                callback()

    def when_done(self, callback: Callable[[], object]) -> None:
        """Call back once it has finished: at once if it has; on the scheduler's thread else."""
        with _lock:
            if not self._told:
                if self._callbacks is None:
                    self._callbacks = []
                self._callbacks.append(callback)
                return
        callback()

    def _shown(self) -> str:
        return self.name

    def _brought(self) -> object:
        """The value that was elsewhere; waits until it is here."""
        gate = threading.Lock()
        gate.acquire()
        fetched = self.link.fetch(self)
        fetched.add_done_callback(lambda _: gate.release())
        self.link.wait(gate, None, self.name)
        return fetched.result()

    def _wait(self, timeout: float | None) -> None:
        gate = threading.Lock()
        gate.acquire()
        inside = self._awaited_inside()
        self.waiters += inside
        self.when_done(gate.release)
        try:
            if not self.link.wait(gate, timeout, self.name):
                raise TaskTimeout(self.name, timeout or 0.0, "has not finished after")
        except KeyboardInterrupt:
            self.link.interrupted(self)
            raise
        finally:
            if self._error is None:  # else it is asked for
                self.waiters -= inside

    def _awaited_inside(self) -> int:
        """1 when the run's own code waits, so that an error is its to handle."""
        scope = current_scope()
        if scope is None or scope.link is not self.link:
            return 0
        self.link.looks(self, scope.group)
        return 1

    def _asked_for(self, error: BaseException) -> BaseException:
        """Note that the error reaches somebody; the run's own code has it for good."""
        self.looked = True
        self.link.asked(self)
        scope = current_scope()
        if scope is not None and scope.link is self.link:
            self.waiters += 1
        return error

    def _wait_async(self) -> Generator[object, None, None]:
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def settle() -> None:
            if not done.done():
                done.set_result(None)

        def wake() -> None:
            try:
                if asyncio._get_running_loop() is loop:
                    settle()
                else:
                    loop.call_soon_threadsafe(settle)
            except RuntimeError:
                pass  # the waiting loop was closed meanwhile: nobody waits any more

        inside = self._awaited_inside()
        self.waiters += inside
        self.when_done(wake)
        heart = Heartbeat(loop) if threading.current_thread() is threading.main_thread() else None
        try:
            yield from done
        except (asyncio.CancelledError, KeyboardInterrupt):
            self.link.interrupted(self)
            raise
        finally:
            self.waiters -= inside
            if heart is not None:
                heart.stop()
