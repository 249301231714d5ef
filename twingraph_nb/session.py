"""The session: the one place that wires the rooms together and owns the scheduler's thread."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import platform
import secrets
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from twingraph_nb import __version__
from twingraph_nb.clock import clock
from twingraph_nb.component import Caller, shelf
from twingraph_nb.errors import LineageError, RunError, StoreError, TwingraphError, suggestion
from twingraph_nb.events import Batch, BodyDone, RunForm, RunStarted, Sink
from twingraph_nb.executors.base import Condition, Executor
from twingraph_nb.executors.conditions import conditions
from twingraph_nb.executors.local import LocalExecutor
from twingraph_nb.executors.registry import closed, make_executor
from twingraph_nb.executors.threads import Threads
from twingraph_nb.graph.run import Run
from twingraph_nb.graph.summary import summaries
from twingraph_nb.graph.task import Task
from twingraph_nb.interpreter import before_exit, machine_memory, say, shell
from twingraph_nb.lineage.places import surroundings
from twingraph_nb.platform_choice import other_platforms
from twingraph_nb.platforms import PLATFORMS
from twingraph_nb.policy import RunOptions
from twingraph_nb.scheduler.calls import Arguments, Calls
from twingraph_nb.scheduler.control import Control
from twingraph_nb.scheduler.drive import Driver
from twingraph_nb.scheduler.limits import Admission
from twingraph_nb.scheduler.live import LiveRun
from twingraph_nb.scheduler.resuming import Resuming
from twingraph_nb.selection import ANY, Selection, read_selection
from twingraph_nb.settings import Settings
from twingraph_nb.store import Store, identity

if TYPE_CHECKING:
    from twingraph_nb.lineage.remote_writer import RemoteWriter

__all__ = ["Session", "close_session", "get_session"]

_PROCESS_WINDOW = 32
"""Jobs per worker process that may be handed over; the rest waits by priority."""
_FAR_WINDOW = 2048
"""Jobs that a platform elsewhere may have at a time."""
_LAST_WORDS = 2.0
"""Seconds that cancelled tasks have for their clean-up when the session closes."""
_CLOSING = 60.0
"""Seconds that platforms have to end what they started: an engine under load takes its time."""


class Session:
    """Runs, their scheduler thread and their store, for one process.

    settings: what the environment says. calls: carries out calls of components. store: the event
    log, or None if nothing is recorded.
    troubles: sentences about what does not work, such as a full disk.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings.load()
        self.pid = os.getpid()
        self.troubles: list[str] = []
        self.store = self._open_store()
        self._lock = threading.RLock()
        self._loose: LiveRun | None = None
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._threads = Threads(self.settings.threads, "twingraph-task")
        cores = os.cpu_count() or 1
        lanes = {p.name: _FAR_WINDOW for p in PLATFORMS.values() if not p.here}
        lanes["process"] = self.settings.processes * _PROCESS_WINDOW
        self._executors: dict[str, Executor] = {}
        self.driver = Driver(
            self._loop,
            self._executor,
            self._threads,
            Admission(lanes, float(cores), machine_memory()),
            self.store,
            keep_after=self.settings.keep_after,
        )
        self.resuming = Resuming(self.store, self.settings)
        self.calls = Calls(self.driver, self._loose_run, self._new_run)
        self._control: Control | None = None
        if self.store is not None:
            self.driver.sinks.append(self.store)
            self._control = Control(self.driver, self.store)
            self.driver.begun = self._control.wake
        self._thread = threading.Thread(target=self._live, name="twingraph", daemon=True)
        self._thread.start()
        before_exit(self._at_exit)
        self.remote: RemoteWriter | None = None
        if self.settings.lineage:
            try:
                self.send_lineage(self.settings.lineage)
            except LineageError as exc:
                self._trouble(str(exc))

    # -- runs --------------------------------------------------------------------------------

    @property
    def loose(self) -> Run:
        """The run of loose calls of this notebook or script; made at first use."""
        return self._loose_run().handle

    @property
    def runs(self) -> dict[str, Run]:
        """The runs of this process that go on or that somebody holds, by id, newest last."""
        return {run.id: run for run in sorted(self.driver.handles.values(), key=lambda r: r.id)}

    def cancel(self, run_id: str) -> Run:
        """Ask a run of this process to stop; its id may be cut short if that is unique.

        Raises:
            RunError: none has that id.
        """
        found = [run for run in self.runs.values() if run.id.startswith(run_id)]
        if len(found) != 1:
            known = ", ".join(self.runs) or "none"
            raise RunError(f"no run of this session has the id {run_id!r}; there are: {known}")
        found[0].cancel()
        return found[0]

    def resume(self, run_id: str, selected: Selection = ANY) -> Run:
        """Start a run that takes over what an earlier one of this or another process finished.

        Args:
            run_id: of a pipeline's run; the start of an id, or "last".
            selected: what of it is to run.
        Raises:
            RunError: it is not known, still runs, is no pipeline's, or its pipeline is not
                defined here.
        """
        self.driver.flush_to_disk()  # it may have ended just now
        row = self.resuming.row(run_id)
        pipeline = shelf.pipelines.get(row.name)
        if pipeline is None:
            near = suggestion(row.name, shelf.pipelines)
            raise RunError(f"define the pipeline {row.name!r} first, which made run {row.id}{near}")
        args, kwargs = self.resuming.arguments(row)
        return self.calls.begin(pipeline, args, kwargs, row.id, selected)

    def drain(self, timeout: float | None = None) -> list[Run]:
        """Wait until no run and no loose task is left; gives the runs it waited for.

        Raises:
            TimeoutError: some are left after that many seconds.
        """
        runs = {task.link.id: task.link for task in self._drained(timeout)}
        return [run.handle for run in runs.values()]  # type: ignore[attr-defined]

    def _drained(self, timeout: float | None = None) -> list[Task]:
        end = None if timeout is None else time.monotonic() + timeout
        waited: list[Task] = []
        while left := self.unfinished():
            for task in left:
                waited.append(task)
                gate = threading.Lock()
                gate.acquire()
                task.when_done(gate.release)
                seconds = -1 if end is None else max(0.0, end - time.monotonic())
                if not gate.acquire(timeout=seconds):
                    raise TimeoutError(f"{len(left)} runs or tasks are left after {timeout:g} s")
        return waited

    def unfinished(self) -> list[Task]:
        """Give what still goes on: loose tasks, and for each run the task that stands for it."""
        done = threading.Event()
        self.driver.call(done.set)  # all that was called is known by then
        done.wait()
        left: list[Task] = []
        for run in list(self.driver.runs.values()):
            if run is self._loose:
                left.extend(run.open.copy().values())
            elif not run.handle.root.done:
                left.append(run.handle.root)
        return left

    def add_sink(self, sink: Sink) -> Callable[[], None]:
        """Give all events from now on to a sink; returns what takes it away again."""
        sinks = self.driver.sinks
        sinks.append(sink)

        def remove() -> None:
            with contextlib.suppress(ValueError):
                sinks.remove(sink)

        return remove

    def send_lineage(self, url: str, *, everything: bool = False) -> None:
        """Write the graph of what runs to a database too, from now on; "" ends that.

        Args:
            url: of a Gremlin Server or of Amazon Neptune, "ws://HOST:8182/gremlin".
            everything: also all earlier runs of the store.
        Raises:
            LineageError: the URL is none.
        """
        from twingraph_nb.lineage.remote import write_to  # it loads a client: only when asked

        before, self.remote = self.remote, None
        if before is not None:
            self.driver.sinks.remove(before)
            before.close(longest=2.0)
        if url:
            self.driver.flush_to_disk()
            self.remote = write_to(
                url,
                self.settings.home,
                self.store,
                history=self.driver.history,
                runs=tuple(self.runs),
                everything=everything,
                say=say,
            )
            self.driver.sinks.append(self.remote)

    def platforms(self, timeout: float = 30.0) -> dict[str, tuple[Condition, int]]:
        """Give how each platform is, and how many of its tasks run now; asks all at once.

        Args:
            timeout: seconds that a service has to answer.
        """
        names = [*PLATFORMS, *other_platforms()]
        asked = asyncio.run_coroutine_threadsafe(self._probed(names, timeout), self._loop)
        return asked.result()

    async def _probed(
        self, names: Sequence[str], timeout: float
    ) -> dict[str, tuple[Condition, int]]:
        found = await conditions(names, self._executors, self.settings, timeout)
        running = self.driver.running()
        return {name: (one, running.get(name, 0)) for name, one in zip(names, found, strict=True)}

    def history(self, run_id: str) -> list[Batch]:
        """Give all events of a run so far, of this process or from the store."""
        return self.driver.history(run_id)

    def close(self) -> None:
        """End the session: cancel what still runs, write the log out."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if shelf.caller is self.calls:
            shelf.caller = _door
        for run in list(self.driver.runs.values()):
            if run is not self._loose:
                run.cancel("the session was closed", who="session")
        if self._loose is not None:
            for task in list(self._loose.open.values()):
                task.cancel()
        with contextlib.suppress(TimeoutError):
            self.drain(timeout=5.0)
        if self._loose is not None:
            loose, driver = self._loose, self.driver
            driver.call(lambda: driver.happen(loose, BodyDone(driver.now())))
        self.driver.flush_to_disk()
        if self._control is not None:
            self._control.close()
        stopping = asyncio.run_coroutine_threadsafe(self._stop(), self._loop)
        with contextlib.suppress(TimeoutError):
            stopping.result(_CLOSING + 2 * _LAST_WORDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        if self.remote is not None:
            self.remote.close()
        if self.store is not None:
            self.store.close()

    # -- inside ------------------------------------------------------------------------------

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        self.driver.thread = threading.get_ident()
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _stop(self) -> None:
        for sentence in await closed(self._executors, _CLOSING):
            self._trouble(sentence)
        self._threads.close()
        self.driver.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_LAST_WORDS)

    def _executor(self, name: str) -> Executor:
        made = self._executors.get(name)
        if made is None:
            made = (
                LocalExecutor(self._threads, self.settings.processes)
                if name == "local"
                else make_executor(name, self.settings)
            )
            self._executors[name] = made
        return made

    def _open_store(self) -> Store | None:
        if not self.settings.record:
            return None
        try:
            store = Store.open(self.settings.home)
        except StoreError as exc:
            self._trouble(f"this session is not being recorded: {exc}")
            return None
        store.on_trouble = self._trouble
        for note in (*store.notes, store.trouble):
            if note:
                self._trouble(note)
        return store

    def _trouble(self, sentence: str) -> None:
        if sentence:
            self.troubles.append(sentence)
            say(sentence)
        else:
            self.troubles.clear()

    def _loose_run(self) -> LiveRun:
        if self._loose is None:
            with self._lock:
                if self._loose is None:
                    name = os.path.basename(self.settings.notebook) or "session"
                    options = RunOptions(on_error="continue")
                    self._loose = self._new_run(name, "session", options, {})
        return self._loose

    def _new_run(
        self,
        name: str,
        form: RunForm,
        options: RunOptions,
        params: Mapping[str, object],
        *,
        arguments: Arguments | None = None,
        resumes: str = "",
        selected: Selection = ANY,
    ) -> LiveRun:
        if self._closed:
            raise TwingraphError("the session is closed")
        if all(run is self._loose and not run.open for run in list(self.driver.runs.values())):
            clock.set()
        now = clock()
        run_id = f"{int(now * 1000):011x}{secrets.token_hex(3)}"[-16:]
        parent = self.settings.notebook_run or None
        run = LiveRun(self.driver, run_id, name, form, parent, options, now)
        origin = self._origin()
        run.earlier = self.resuming.earlier(run_id, resumes, origin)
        selected = run.choose(selected, read_selection(self.settings.selected))
        self.driver.begin(
            run,
            RunStarted(
                now,
                run_id,
                name,
                form,
                parent,
                summaries(params) or {},
                origin,
                options.on_error,
                options.timeout,
                run.earlier.about if run.earlier is not None else "",
                self.resuming.kept_arguments(name, arguments),
                str(selected),
            ),
        )
        return run

    def _origin(self) -> dict[str, str]:
        origin = {
            **identity(),
            "python": platform.python_version(),
            "version": __version__,
            **surroundings(),
        }
        if self.settings.notebook:
            origin["notebook"] = self.settings.notebook
        interactive = shell()
        if interactive is not None:
            origin["cell"] = str(getattr(interactive, "execution_count", ""))
        return origin

    def _at_exit(self) -> None:
        """Wait for what nobody awaited (in a script), then write the log out."""
        if os.getpid() != self.pid or self._closed:
            return
        with contextlib.suppress(KeyboardInterrupt):
            if not hasattr(shell(), "kernel"):
                # Who calls by hand has seen what failed in what was shown.
                seen = shell() is not None or hasattr(sys, "ps1")
                failed = [] if seen else self.driver.unseen.take()
                for task in [*failed, *self._drained()]:
                    if (error := task.error) is not None:
                        say(f"{task.name} failed: {type(error).__name__}: {error}")
        self.close()


_current: Session | None = None
_current_lock = threading.Lock()


def get_session() -> Session:
    """Give the session of this process; it is started at first use."""
    global _current
    if _current is None or _current._closed or _current.pid != os.getpid():
        with _current_lock:
            if _current is None or _current._closed or _current.pid != os.getpid():
                _current = Session()
                shelf.caller = _current.calls  # without a detour from now on
    return _current


def close_session() -> None:
    """End the session of this process, if there is one; the next use starts another."""
    global _current
    if _current is not None:
        _current.close()
        _current = None


class _Door:
    """Carries calls to the session of this process (component.Caller)."""

    def __getattr__(self, name: str) -> object:
        return getattr(get_session().calls, name)


_door = cast(Caller, _Door())
shelf.caller = _door
shelf.starter = lambda *asked: get_session().calls.begin(*asked)
shelf.planner = lambda *asked: importlib.import_module("twingraph_nb.plan").plan_of(
    get_session(), *asked
)  # loaded when it is asked for
if hasattr(os, "register_at_fork"):  # the parent's scheduler thread is not there in a child
    os.register_at_fork(after_in_child=lambda: setattr(shelf, "caller", _door))
