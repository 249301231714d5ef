"""Calling components and waiting for them, in one process."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from twingraph_nb import Task, async_component, component, ctx, get_session, pipeline
from twingraph_nb.errors import (
    ArgumentError,
    LazyValueError,
    TaskCancelled,
    TaskError,
    TaskSkipped,
    TaskTimeout,
)


@component()
def double(x: int) -> int:
    return 2 * x


@component()
def fail(x: object = None) -> int:
    raise ValueError("no good")


@async_component()
async def forever(x: object = None) -> None:
    await asyncio.Event().wait()


def waiting_for(gate: threading.Event) -> Task:
    @component()
    def blocked() -> str:
        gate.wait()
        return "done"

    task = blocked()
    assert isinstance(task, Task)
    return task


def test_call_returns_at_once_and_result_waits() -> None:
    gate = threading.Event()
    task = waiting_for(gate)
    assert not task.done
    gate.set()
    assert task.result() == "done"
    assert task.state == "succeeded"


def test_result_timeout_leaves_the_task_running() -> None:
    gate = threading.Event()
    task = waiting_for(gate)
    with pytest.raises(TaskTimeout, match=r"blocked has not finished after 0\.01 s"):
        task.result(timeout=0.01)
    gate.set()
    assert task.result() == "done"


async def test_await_works_on_any_loop() -> None:
    assert await double(double(1)) == 4
    with pytest.raises(ValueError, match="no good"):
        await fail()


def test_error_keeps_its_own_lines_and_names_component_and_place() -> None:
    with pytest.raises(ValueError, match="no good") as caught:
        fail().result()
    assert caught.traceback[-1].name == "fail"
    assert any("in component fail, " in note for note in caught.value.__notes__)
    assert any(", line " in note for note in caught.value.__notes__)


def test_what_needs_a_failed_task_is_skipped() -> None:
    task = double(fail())
    with pytest.raises(TaskSkipped, match="double was skipped because fail did not succeed"):
        task.result()
    assert task.state == "skipped"


def test_blocking_result_in_async_code_on_the_scheduler_is_refused() -> None:
    @async_component()
    async def bad() -> object:
        return forever().result()

    with pytest.raises(LazyValueError, match=r"write `forever\.result"):
        bad().result()


def test_component_may_call_components_and_wait() -> None:
    @component()
    def fib(n: int) -> int:
        return n if n < 2 else fib(n - 1).result() + fib(n - 2).result()

    assert fib(9).result() == 34  # more tasks wait at once than there are threads


def test_recursion_without_end_of_tasks_is_told() -> None:
    @async_component()
    async def again(n: int) -> object:
        return await again(n + 1)

    with pytest.raises(Exception, match="again: tasks call tasks 200 deep; is there an end to it"):
        again(0).result()


def test_recursion_without_end_of_a_function_is_its_own_error() -> None:
    @component()
    def down(n: int) -> int:
        def f(n: int) -> int:
            return f(n + 1)

        return f(n)

    with pytest.raises(RecursionError):
        down(0).result()


def test_sys_exit_in_a_component_fails_that_task_alone() -> None:
    @component()
    def leaves() -> None:
        sys.exit(3)

    @async_component()
    async def leaves_async() -> None:
        sys.exit(3)

    for made in (leaves, leaves_async):
        with pytest.raises(TaskError, match=r"called sys.exit\(3\); a component ends by `return`"):
            made().result()
    assert double(1).result() == 2


def test_cancel_stops_a_running_async_task_and_skips_what_needs_it() -> None:
    stopped = threading.Event()

    @async_component()
    async def waits() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return 1

    task = waits()
    later = double(task)
    while task.state != "running":
        pass
    task.cancel()
    with pytest.raises(TaskCancelled, match="waits was cancelled"):
        task.result(30)
    assert stopped.wait(30)
    with pytest.raises(TaskSkipped):
        later.result(30)


def test_cancel_interrupts_a_sync_task_that_computes() -> None:
    began, stopped = threading.Event(), threading.Event()

    @component()
    def spins() -> None:
        try:
            while True:
                began.set()
        finally:
            stopped.set()

    task = spins()
    assert began.wait(30)
    task.cancel()
    with pytest.raises(TaskCancelled):
        task.result(30)
    assert stopped.wait(30)
    assert double(3).result(30) == 6


def test_task_timeout_is_an_error_of_the_task() -> None:
    @async_component(config={"timeout": 0.05})
    async def slow() -> None:
        await asyncio.Event().wait()

    @component(timeout=0.05)
    def busy() -> None:
        while True:
            pass

    for made in (slow, busy):
        with pytest.raises(TaskTimeout, match=rf"{made.name} did not finish within 0\.05 s"):
            made().result(10)


def test_timeout_error_of_the_user_is_not_taken_for_ours() -> None:
    @async_component(timeout=60)
    async def own() -> None:
        raise TimeoutError("the server is slow")

    with pytest.raises(TimeoutError, match="the server is slow"):
        own().result()


def test_retries_until_it_works_and_only_for_the_errors_named() -> None:
    tries: list[int] = []

    @component(retries=5, delay=0.001, retry_on=ConnectionError)
    def flaky() -> int:
        tries.append(ctx.attempt)
        if len(tries) < 3:
            raise ConnectionResetError("again")
        return len(tries)

    @component(config={"retry_policy": {"max_attempts": 3, "backoff": "fixed", "delay": 0.001}})
    def never() -> None:
        tries.append(0)
        raise KeyError("x")

    @component(retries=5, delay=0.001, retry_on=(ConnectionError,))
    def other() -> None:
        tries.append(0)
        raise KeyError("x")

    assert flaky().result() == 3
    assert tries == [1, 2, 3]
    tries.clear()
    with pytest.raises(KeyError):
        never().result()
    assert len(tries) == 3
    tries.clear()
    with pytest.raises(KeyError):
        other().result()
    assert len(tries) == 1


def test_prints_go_to_the_tasks_own_log(capsys: pytest.CaptureFixture[str]) -> None:
    @component()
    def talks(name: str) -> None:
        for i in range(3):
            print(name, i)
            time.sleep(0)
        print("oops", file=sys.stderr)

    @async_component()
    async def talks_async(name: str) -> None:
        print(name)
        await asyncio.sleep(0)
        ctx.log("said")

    a, b, c = talks("a"), talks("b"), talks_async("c")
    for task in (a, b, c):
        task.result()
    assert a.logs == "a 0\na 1\na 2\noops\n"
    assert b.logs == "b 0\nb 1\nb 2\noops\n"
    assert c.logs == "c\nsaid\n"
    assert capsys.readouterr() == ("", "")


async def test_chunks_of_a_stream_come_one_by_one() -> None:
    go = asyncio.Event()
    loop = asyncio.get_running_loop()
    gate = threading.Event()

    @async_component()
    async def counts(n: int) -> AsyncIterator[int]:
        for i in range(n):
            yield i
            while i == 0 and not gate.is_set():
                await asyncio.sleep(0.001)

    @component()
    def lines(n: int) -> Iterator[str]:
        for i in range(n):
            yield f"line {i}"

    task = counts(3)
    got = []
    async for chunk in task:
        got.append(chunk)
        if chunk == 0:
            assert not task.done  # the first came before the last was made
            gate.set()
            loop.call_soon(go.set)
    assert got == [0, 1, 2]
    assert await task == [0, 1, 2]
    assert await lines(2) == ["line 0", "line 1"]
    assert [c async for c in lines(2)] == ["line 0", "line 1"]


def test_map_gives_results_in_order() -> None:
    assert double.map(range(20)).result() == [2 * i for i in range(20)]
    assert double.map([]).result() == []


def test_map_over_the_output_of_a_task() -> None:
    @component()
    def numbers(n: int) -> list[int]:
        return list(range(n))

    @component()
    def power(x: int, e: int) -> int:
        return x**e

    assert power.map(numbers(4), e=2).result() == [0, 1, 4, 9]
    assert power.map([double(1), double(2)], e=double(1)).result() == [4, 16]


def test_map_refuses_what_is_not_a_list() -> None:
    with pytest.raises(ArgumentError, match=r"double: \.map wants a list of items, not int"):
        double.map(3)
    with pytest.raises(ArgumentError, match="double: has no input 'y'"):
        double.map([1], y=3)


def test_failing_item_fails_the_map() -> None:
    @component()
    def picky(x: int) -> int:
        if x == 3:
            raise ValueError("three")
        return x

    with pytest.raises(ValueError, match="three"):
        picky.map(range(5)).result()


def test_max_parallel_of_a_component_is_kept() -> None:
    running = 0
    most = 0

    @async_component(max_parallel=3)
    async def counted(i: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return i

    assert counted.map(range(20)).result() == list(range(20))
    assert most == 3


def test_task_that_asks_for_more_than_the_machine_has_is_told() -> None:
    @component(cpus=10_000)
    def huge() -> None: ...

    with pytest.raises(TaskError, match="huge asks for 10000 cpus; there are"):
        huge().result()


def test_progress_is_recorded() -> None:
    @component()
    def works() -> None:
        ctx.progress(0.4, "parsing")
        ctx.progress(7)

    works().result()
    session = get_session()
    said = [
        (event.fraction, event.message)
        for batch in session.history(session.loose.id)
        for event in batch.events
        if type(event).__name__ == "TaskProgressed"
    ]
    assert said == [(0.4, "parsing"), (1.0, "")]


@pipeline()
def etl(n: int) -> object:
    numbers = [double(i) for i in range(n)]
    if n > 2:
        numbers = double.map(numbers)  # type: ignore[assignment]
    return {"numbers": numbers, "n": n}


def test_pipeline_returns_at_once_and_gives_what_it_returned() -> None:
    run = etl(3)
    assert run.result() == {"numbers": [0, 4, 8], "n": 3}
    assert run.state == "succeeded"
    assert run.tasks["double"].result() == 0
    assert len(run.tasks) == 7


async def test_async_pipeline_with_conditions_and_nesting() -> None:
    @pipeline(name="inner")
    def inner(x: int) -> object:
        return double(x)

    @pipeline()
    async def outer(x: int) -> object:
        y = await inner(x)
        if y > 4:
            return double(y)
        return inner(inner(x))

    assert await outer(5) == 20
    assert await outer(1) == 4


def test_a_run_has_not_ended_before_all_that_it_called() -> None:
    @async_component()
    async def quick(x):
        return x

    @pipeline()
    def careless(n):
        for i in range(n):
            quick(i)  # nobody waits for it

    for _ in range(4):
        run = careless(3000)
        run.result()
        assert {task.state for task in run.tasks} == {"succeeded"}


def test_pipeline_that_fails_raises_the_users_error_and_stops_the_rest() -> None:
    @pipeline()
    def fails() -> object:
        return [forever(), fail()]

    run = fails()
    with pytest.raises(ValueError, match="no good"):
        run.result(30)
    assert run.state == "failed"
    assert run.tasks["forever"].state == "cancelled"


def test_continue_finishes_what_does_not_depend_on_the_failure() -> None:
    @pipeline(on_error="continue")
    def most() -> object:
        bad = fail()
        return [double(bad), double(double(2))]

    run = most()
    with pytest.raises(ValueError, match="no good"):
        run.result()
    assert sorted(t.state for t in run.tasks) == ["failed", "skipped", "succeeded", "succeeded"]


def test_run_cancel_and_run_timeout() -> None:
    @pipeline()
    def waits() -> object:
        return forever()

    run = waits()
    while len(run.tasks) == 0 or run.tasks[0].state != "running":
        pass
    run.cancel()
    with pytest.raises(Exception, match="the run was cancelled"):
        run.result(30)
    assert run.state == "cancelled"

    @pipeline(timeout=0.05)
    def limited() -> object:
        return forever()

    with pytest.raises(TimeoutError, match=r"did not finish within 0\.05 s"):
        limited().result(30)


def test_body_that_blocks_cannot_hold_up_a_cancelled_run() -> None:
    gate = threading.Event()

    @pipeline()
    def stuck() -> None:
        gate.wait()

    run = stuck()
    run.cancel()
    with pytest.raises(Exception, match="cancelled"):
        run.result(30)
    gate.set()


async def test_events_of_a_run_from_the_first_to_the_last() -> None:
    run = etl(1)
    kinds = [type(event).__name__ async for event in run.events()]
    assert kinds[0] == "RunStarted"
    assert kinds[-1] == "RunFinished"
    assert kinds.count("TaskDone") == 1
    assert [type(e).__name__ async for e in run.events()] == kinds


def test_many_threads_may_call_at_once() -> None:
    results: list[object] = []

    def work(start: int) -> None:
        results.extend(double(i).result() for i in range(start, start + 50))

    threads = [threading.Thread(target=work, args=(i * 50,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [2 * i for i in range(300)]  # type: ignore[type-var]


def test_big_array_goes_through_local_tasks_without_a_copy() -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.zeros(1000)

    @component()
    def touch(a: object) -> object:
        return a

    @async_component()
    async def touch_async(a: object) -> object:
        return a

    assert touch(touch_async(touch(array))).result() is array


def test_huge_result_is_given_whole_and_told_in_short() -> None:
    @component()
    def huge_list() -> object:
        return {"numbers": list(range(2_000_000)), "text": "x" * 30_000_000}

    task = huge_list()
    value = task.result()
    assert len(value["numbers"]) == 2_000_000  # type: ignore[index]
    session = get_session()
    (said,) = [
        event.outputs["value"]
        for batch in session.history(session.loose.id)
        for event in batch.events
        if type(event).__name__ == "TaskDone"
    ]
    assert said.startswith("{'numbers': [0, 1, 2, 3, 4, 5, ...]")
    assert len(said) < 300


def test_larger_priority_goes_first_when_places_are_few() -> None:
    gate, order = threading.Event(), list[str]()

    @component()
    def step(name: str) -> None:
        order.append(name)

    @component()
    def hold() -> None:
        gate.wait()

    urgent = step.on(priority=5)
    held = [hold() for _ in range(get_session().settings.threads)]
    while any(task.state != "running" for task in held):
        pass
    tasks = [step("low"), step("low"), urgent("high"), step("low"), urgent("high")]
    while any(task.state == "waiting" for task in tasks):
        pass
    gate.set()
    for task in tasks:
        task.result()
    assert order[:2] == ["high", "high"]


def test_secrets_among_the_arguments_are_masked_in_the_log() -> None:
    @component()
    def connect(host: str, password: str, api_key: str = "") -> str:
        return host

    connect("h", "hunter2", api_key="sk-123").result()
    session = get_session()
    told = repr([batch.events for batch in session.history(session.loose.id)])
    assert "hunter2" not in told
    assert "sk-123" not in told
    assert "'password': '•••'" in told
