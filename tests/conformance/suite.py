"""What every platform must do: one suite, run by a class for each platform."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import pathlib
import secrets
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec
import pytest

import twingraph_nb
from tests.conformance import steps, tables
from tests.conformance.there import PATIENCE, kill, mark, pids_of, until
from tests.wire import samples
from twingraph_nb.component import Component, make_component
from twingraph_nb.errors import (
    ExecutorError,
    PortabilityError,
    ResultError,
    TaskCancelled,
    TaskError,
    TaskTimeout,
    WorkerDied,
)
from twingraph_nb.events import TaskAdded, TaskDone, TaskErred, TaskProgressed, TaskStarted
from twingraph_nb.graph.task import Task
from twingraph_nb.session import close_session, get_session
from twingraph_nb.source import pickled

__all__ = [
    "PATIENCE", "Conformance", "Place", "events_of", "kill", "mark", "pids_of", "until",
]  # fmt: skip

MANY = 100


@dataclass
class Place:
    """A platform as the suite uses it.

    options: that each component gets. left: names what a closed session has left behind.
    visible: all that others can see of what runs, as text. given: the names of all jobs that the
    service has ever had, of a place with a job for each task. again: a killed worker's task is run
    again. cure: what is said to do about a package that is not there. about: the module that says
    what versions the kernel has (ABOUT), if far sides are installed and may have others. one:
    options of a place for one task at a time. queued: a task waits for it there; always true where
    the queue is the kernel's. libraries: gives options of a place that has those of
    `tables.VALUES`. types: of the values, those that it can have.
    """

    platform: str
    options: dict[str, Any] = field(default_factory=dict)
    left: Callable[[], list[str]] = list
    visible: Callable[[], str] = str
    given: Callable[[], list[str]] | None = None
    again: bool = False
    cure: str = "use an image= that has it"
    about: Any = None
    trusted: bool = False
    one: dict[str, Any] = field(default_factory=lambda: {"workers": 1})
    queued: Callable[[], object] = lambda: True
    libraries: Callable[[], dict[str, Any]] = dict
    types: tuple[str, ...] = tuple(tables.VALUES)


class Conformance:
    """The promises. A subclass says `place`; what a platform cannot do it sets to None."""

    place: ClassVar[Place]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def one_session(
        cls, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
    ) -> Iterator[None]:
        """One session for the whole class, so that workers stay; it leaves nothing behind."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TWINGRAPH_HOME", str(tmp_path_factory.mktemp("home")))
            patch.setenv("SUITE_SECRET", SECRET)
            cls.place = cls.make_place(request, patch)
            yield
            close_session()
        left = cls.place.left()
        assert left == [], left

    @classmethod
    def make_place(cls, request: pytest.FixtureRequest, patch: pytest.MonkeyPatch) -> Place:
        raise NotImplementedError

    def on(self, function: Callable[..., object], **options: Any) -> Component:
        return make_component(
            function,
            platform=self.place.platform,
            options={**self.place.options, **options},
            keep=False,
        )

    def call(self, function: Callable[..., object], *args: object, **options: Any) -> Any:
        return self.start(function, *args, **options).result(PATIENCE)

    def start(self, function: Callable[..., object], *args: object, **options: Any) -> Task:
        task = self.on(function, **options)(*args)
        assert isinstance(task, Task)
        return task

    # -- values ------------------------------------------------------------------------------

    def test_values_arrive_equal_in_both_directions(self) -> None:
        back = self.call(steps.same, steps.VALUES)
        assert list(back) == list(steps.VALUES)
        for name, value in steps.VALUES.items():
            assert samples.same(back[name], value), name

    def test_values_are_there_what_they_are_here(self) -> None:
        plain = {k: v for k, v in steps.VALUES.items() if k not in ("ints", "sets")}
        assert self.call(steps.kinds, plain) == steps.kinds(plain)

    def test_tables_and_models_arrive_equal_in_both_directions(self) -> None:
        sent = {name: tables.VALUES[name] for name in self.place.types}
        back, there = self.call(tables.seen, sent, **self.place.libraries())
        assert there == {name: repr(value) for name, value in sent.items()}
        for name, value in sent.items():
            assert samples.same(back[name], value), name

    def test_large_values_go_both_ways(self) -> None:
        data = secrets.token_bytes(10_000_000)
        assert self.call(steps.doubled, data) == data + data

    def test_async_components_run(self) -> None:
        assert self.call(steps.later, 1) == 2

    def test_a_cell_has_several_outputs_there_too(self) -> None:
        task = self.on(steps.halves)(7)
        found = task.result(PATIENCE)  # type: ignore[attr-defined]
        assert (found.low, found.high, type(found).__name__) == (3, 4, "HalvesOutputs")
        assert found == self.call(steps.same, found)

    def test_outputs_feed_other_tasks(self) -> None:
        first = self.start(steps.adds, 1, 2)
        assert self.call(steps.adds, first, self.start(steps.adds, first, 10)) == 16

    # -- errors ------------------------------------------------------------------------------

    def test_the_users_error_comes_back_with_its_cause_and_its_lines(self) -> None:
        with pytest.raises(ValueError, match="cannot do 5") as caught:
            self.call(steps.fails, 5)
        error = caught.value
        assert isinstance(error.__cause__, KeyError)
        assert error.__cause__.args == ("missing",)
        assert "look it up first" in error.__notes__
        frames = [f"{e.path.name}:{e.name}" for e in caught.traceback]
        assert "steps.py:fails" in frames
        assert "raise error from exc" in str(caught.traceback[-1].statement)

    def test_an_error_of_the_users_own_class_is_of_that_class(self) -> None:
        with pytest.raises(steps.Broken) as caught:
            self.call(steps.breaks)
        assert caught.value.code == 42
        assert caught.value.args == ("broken here", 42)

    def test_sys_exit_is_an_error_that_says_so(self) -> None:
        with pytest.raises(TaskError, match=r"sys.exit\(3\)"):
            self.call(steps.leaves, 3)

    def test_a_far_side_that_ends_is_an_error_with_its_exit_code(self) -> None:
        task = self.start(steps.ends, 3)
        with pytest.raises(TaskError, match=r"\b3\b"):
            task.result(PATIENCE)
        assert "last words\n" in task.logs
        assert self.call(steps.square, 3) == 9

    def test_a_result_that_cannot_travel_is_named(self) -> None:
        with pytest.raises(ResultError, match=r"lock"):
            self.call(steps.gives_live)

    def test_what_only_pickle_can_read_needs_trust(self) -> None:
        if self.place.trusted:
            assert self.call(steps.gives_opaque, 3).x == 3
            return
        with pytest.raises(ResultError, match="Opaque"):
            self.call(steps.gives_opaque, 3)
        assert self.call(steps.gives_opaque, 3, trust=True).x == 3

    # -- what a task says --------------------------------------------------------------------

    def test_log_lines_come_in_order(self) -> None:
        task = self.start(steps.talks, 50)
        assert task.result(PATIENCE) == 50
        lines = task.logs.splitlines()
        assert [line for line in lines if line[:3] == "out"] == [f"out {at}" for at in range(50)]
        assert [line for line in lines if line[:3] == "err"] == [
            f"err {at}" for at in range(0, 50, 10)
        ]
        assert "raw" in lines

    def test_what_a_task_says_is_heard_while_it_runs(self) -> None:
        task = self.start(steps.lives, 3.0)
        until(lambda: "begun" in task.logs or task.done)
        assert not task.done
        assert task.result(PATIENCE) == "done"
        assert task.logs.splitlines()[-1] == "over"

    def test_progress_is_told(self) -> None:
        task = self.start(steps.lives, 0.1)
        task.result(PATIENCE)
        told = [e for e in events_of(task) if isinstance(e, TaskProgressed)]
        assert [(e.fraction, e.message) for e in told] == [(0.25, "a quarter")]

    def test_a_stream_gives_its_chunks_in_order(self) -> None:
        async def chunks(task: Task) -> list[object]:
            return [chunk async for chunk in task]

        for function, want in ((steps.counts, [0, 1, 2, 3]), (steps.drips, [0, 2, 4, 6])):
            task = self.start(function, 4)
            assert asyncio.run(chunks(task)) == want
            assert task.result(PATIENCE) == want

    def test_a_chunk_is_there_before_the_stream_ends(self) -> None:
        async def first(task: Task) -> tuple[object, bool]:
            async for chunk in task:
                return chunk, task.done
            raise AssertionError("no chunk")

        task = self.start(steps.counts, 2, 1.0)
        assert asyncio.run(first(task)) == (0, False)
        assert task.result(PATIENCE) == [0, 1]

    def test_a_flood_of_lines_hurts_nobody(self) -> None:
        task = self.start(steps.floods, 100_000)
        assert task.result(PATIENCE) == 100_000
        assert task.logs.startswith("line 0\nline 1\n")

    # -- ending ------------------------------------------------------------------------------

    def test_a_timeout_ends_the_far_side(self) -> None:
        name = mark()
        task = self.start(steps.stays, name, timeout=2)
        with pytest.raises(TaskTimeout):
            task.result(PATIENCE)
        until(lambda: not pids_of(name))

    def test_cancelling_a_running_task_ends_the_far_side(self) -> None:
        name = mark()
        task = self.start(steps.stays, name)
        until(lambda: pids_of(name))
        task.cancel()
        with pytest.raises(TaskCancelled):
            task.result(PATIENCE)
        until(lambda: not pids_of(name))
        assert self.call(steps.square, 4) == 16

    def test_cancelling_a_queued_task_keeps_it_from_running(self) -> None:
        one, name, other = self.place.one, mark(), mark()
        running = self.start(steps.stays, name, **one)
        until(lambda: pids_of(name))
        queued = self.start(steps.stays, other, **one)
        until(self.place.queued)
        queued.cancel()
        with pytest.raises(TaskCancelled):
            queued.result(PATIENCE)
        assert pids_of(name)
        running.cancel()
        with pytest.raises(TaskCancelled):
            running.result(PATIENCE)
        until(lambda: not pids_of(name))
        assert self.call(steps.square, 4, **one) == 16  # the other would have come before it
        assert not pids_of(other)
        assert "staying" not in queued.logs

    def test_a_far_side_that_is_killed_fails_its_task_alone(self) -> None:
        name = mark()
        seconds = 3.0 if self.place.again else 300.0
        task = self.start(steps.stays, name, seconds)
        until(lambda: pids_of(name))
        kill(name)
        if self.place.again:
            assert task.result(PATIENCE) == "stayed"
        else:
            with pytest.raises(WorkerDied, match=r"killed|ended|died|gone"):
                task.result(PATIENCE)
        assert self.call(steps.square, 5) == 25

    def test_a_task_out_of_memory_says_so(self) -> None:
        with pytest.raises(WorkerDied, match="memory"):
            self.call(steps.eats, mark(), 400, memory="128m")

    # -- many --------------------------------------------------------------------------------

    def test_a_hundred_tasks_in_flight_all_come_back_each_once(self) -> None:
        given = self.place.given or list
        before = set(given())
        group: Any = self.on(steps.numbered).map(range(MANY))
        found = group.result(2 * PATIENCE)
        assert [square for square, _ in found] == [x * x for x in range(MANY)]
        hashes = {hash for _, hash in found}
        assert len(hashes) == MANY
        events = [e for batch in get_session().history(group.link.id) for e in batch.events]
        told: dict[int, list[object]] = {
            e.task: [] for e in events if isinstance(e, TaskAdded) and e.hash in hashes
        }
        for event in events:
            if isinstance(event, (TaskStarted, TaskErred, TaskDone)) and event.task in told:
                told[event.task].append(event)
        assert len(told) == MANY
        odd = [each for each in told.values() if list(map(type, each)) != [TaskStarted, TaskDone]]
        assert odd == []
        if self.place.given:
            until(lambda: len(set(given()) - before) >= MANY)
            assert len(set(given()) - before) == MANY

    def test_a_map_feeds_a_join(self) -> None:
        group = self.on(steps.square).map([1, 2, 3])
        assert self.call(steps.total, group) == 14

    # -- what travels ------------------------------------------------------------------------

    def test_helpers_captured_values_and_modules_of_the_users_own_travel(self) -> None:
        assert self.call(steps.reaches, 2) == 3 + 100 + 14

    def test_a_function_that_calls_itself_travels(self) -> None:
        assert self.call(steps.factorial, 5) == 120

    def test_a_package_that_is_not_there_is_named_with_its_line_and_its_cure(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "site-packages"
        folder.mkdir()
        (folder / "kernel_only.py").write_text("def one() -> int:\n    return 1\n")
        monkeypatch.syspath_prepend(str(folder))
        kernel_only = importlib.import_module("kernel_only")
        monkeypatch.setitem(sys.modules, "kernel_only", sys.modules.pop("kernel_only"))

        def needs() -> int:
            return int(kernel_only.one())

        with pytest.raises(PortabilityError) as caught:
            self.call(needs)
        where = f"{__file__}, line {needs.__code__.co_firstlineno + 1}"
        said = f"{where} uses 'kernel_only', which is not there (No module named 'kernel_only'): "
        assert f"cannot travel to platform {self.place.platform!r}:\n  - {said}" in (
            str(caught.value)
        )
        assert self.place.cure in str(caught.value)

    def test_bytecode_of_another_python_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pickled, "HERE", (3, 99))

        def taken(x: int) -> int:
            return x

        with pytest.raises(PortabilityError) as caught:
            self.call(taken, 3, ship="pickle")
        assert f"{__file__}, line {taken.__code__.co_firstlineno}: " in str(caught.value)
        said = "takes bytecode along, which is for Python 3.99, and this is Python 3."
        assert said in str(caught.value)

    def test_a_far_side_is_of_the_kernels_version_or_refuses(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert self.call(steps.version) == twingraph_nb.__version__
        if self.place.about is None:
            return  # the kernel brings the far side along
        module, package, python = self.place.about, *self.place.about.ABOUT[1:]
        other = (module.ABOUT[0], "9.9", "3.99")
        kind = type(module.ABOUT)
        monkeypatch.setattr(module, "ABOUT", other if kind is tuple else kind(*other))
        with pytest.raises(ExecutorError) as caught:
            self.call(steps.square, 3)
        assert f"has twingraph_nb {package} on Python {python}" in str(caught.value)
        assert "kernel 9.9 on Python 3.99" in str(caught.value)

    def test_a_function_of_a_cell_travels_with_what_it_has_captured(self) -> None:
        captured = {"limit": 3}

        def above(xs: list[int]) -> list[int]:
            return [x for x in xs if x > captured["limit"]]

        assert self.call(above, [1, 3, 5]) == [5]

    def test_environment_and_secrets_are_there_and_nowhere_else(self) -> None:
        one = self.place.one  # so that the task after it has the same worker
        options = {"env": {"SUITE_PLAIN": PLAIN}, "secrets": ["SUITE_SECRET"], **one}
        task = self.start(steps.environment, "SUITE_PLAIN", "SUITE_SECRET", 1.0, **options)
        until(lambda: "looking" in task.logs or task.done)
        seen = self.place.visible()
        assert task.result(PATIENCE) == (PLAIN, digest(SECRET))
        seen += self.place.visible()
        history = [batch.events for batch in get_session().history(task.link.id)]
        assert SECRET not in msgspec.json.encode(history, enc_hook=str).decode()
        assert SECRET not in seen
        assert PLAIN not in seen
        after = self.call(steps.environment, "SUITE_PLAIN", "SUITE_SECRET", **one)
        if self.place.platform != "process":  # whose workers have the kernel's own environment
            assert after == (None, digest("not there"))

    def test_names_with_shell_characters_are_only_names(self) -> None:
        made = make_component(
            steps.adds,
            name="a b;$(touch /tmp/x)'\"&|é",
            platform=self.place.platform,
            options=self.place.options,
            keep=False,
        )
        assert made(1, 2).result(PATIENCE) == 3  # type: ignore[attr-defined]


SECRET = "sesame-" + secrets.token_hex(8)
PLAIN = "plain " + secrets.token_hex(8)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def events_of(task: Task) -> list[object]:
    """All events of a task."""
    batches = get_session().history(task.link.id)
    return [e for b in batches for e in b.events if getattr(e, "task", None) == task.number]
