"""Platform `process`: values, prints and errors come back; workers die alone and are replaced."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import pytest_asyncio

from tests.executors.running import Memory, executor, job_of
from twingraph_nb.context import ctx
from twingraph_nb.errors import ExecutorError, PortabilityError, ResultError, TaskError, WorkerDied
from twingraph_nb.executors.process import ProcessExecutor


class Row(NamedTuple):
    a: int
    b: str


def row(x: int) -> Row:
    return Row(x, str(x))


def same(x: object) -> object:
    return x


def pid_of() -> int:
    return os.getpid()


def hold(seconds: float = 60.0) -> int:
    print("holding")
    time.sleep(seconds)
    return os.getpid()


async def run(pool: ProcessExecutor, function: object, *args: object, **kw: object) -> object:
    outcome = await pool.run(job_of(function, *args, **kw), Memory())  # type: ignore[arg-type]
    if outcome.error is not None:
        raise outcome.error
    return outcome.value


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(condition: object) -> None:
    while not condition():  # type: ignore[operator]
        await asyncio.sleep(0.01)


pytestmark = pytest.mark.asyncio(loop_scope="module")
_shared: list[ProcessExecutor] = []


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def one_pool() -> AsyncIterator[None]:
    async with executor() as pool:
        _shared.append(pool)
        yield
        _shared.clear()


@contextlib.asynccontextmanager
async def shared() -> AsyncIterator[ProcessExecutor]:
    """The pool of all tests in which no worker is harmed: to start one takes a second."""
    yield _shared[0]


# -- values --------------------------------------------------------------------------------------


async def test_values_go_there_and_back_with_their_types() -> None:
    async with shared() as pool:
        for value in (
            None,
            1,
            "x" * 1_000_000,
            {"a": [1, {2}]},
            b"\0",
            Row(1, "b"),
            ValueError("v"),
        ):
            back = await run(pool, same, value)
            assert type(back) is type(value)
            assert repr(back) == repr(value)


async def test_a_large_array_goes_there_and_back_and_stays_as_it_was_here() -> None:
    def doubled(array: np.ndarray) -> np.ndarray:
        array[0] = -1  # its own memory: to write is allowed there, and not seen here
        return array * 2

    array = np.arange(2_500_000.0)
    async with shared() as pool:
        back = await run(pool, doubled, array)
    assert isinstance(back, np.ndarray)
    assert back[0] == -2
    assert np.array_equal(back[1:], array[1:] * 2)
    assert array[0] == 0


async def test_a_namedtuple_keeps_its_class() -> None:
    async with shared() as pool:
        back = await run(pool, row, 3)
    assert type(back) is Row
    assert back == Row(3, "3")


async def test_a_workers_work_is_done_in_another_process_that_is_kept() -> None:
    async with executor(1) as pool:
        pids = {await run(pool, pid_of) for _ in range(3)}
    assert len(pids) == 1
    assert os.getpid() not in pids


async def test_variadic_inputs_are_spread() -> None:
    def total(first: int, *rest: int, **named: int) -> list[int]:
        return [first, *rest, *named.values()]

    async with shared() as pool:
        assert await run(pool, total, 1, 2, 3, x=4) == [1, 2, 3, 4]


async def test_async_components_and_streams() -> None:
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    def count(n: int) -> Iterator[int]:
        yield from range(n)

    async def drip(n: int) -> AsyncIterator[int]:
        for at in range(n):
            await asyncio.sleep(0)
            yield at

    async with shared() as pool:
        assert await run(pool, later, 1) == 2
        assert await run(pool, later, 2) == 3
        for stream in (count, drip):
            report = Memory()
            outcome = await pool.run(job_of(stream, 3), report)
            assert outcome.error is None
            assert outcome.value == report.chunks == [0, 1, 2]


async def test_a_task_left_behind_by_an_async_component_is_cancelled() -> None:
    async def leave() -> int:
        async def forever() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                print("cancelled")

        asyncio.get_running_loop().create_task(forever())
        await asyncio.sleep(0)
        return 1

    report = Memory()
    async with executor(1) as pool:
        assert (await pool.run(job_of(leave), report)).value == 1
        assert await run(pool, same, 2) == 2
    assert report.text() == "cancelled\n"


# -- what it says --------------------------------------------------------------------------------


async def test_prints_come_in_order_and_to_their_own_task() -> None:
    def say(name: str) -> None:
        for at in range(300):
            print(name, at)
        print("to err", file=sys.stderr)
        threading.Thread(target=print, args=("from a thread",)).start()

    reports = [Memory() for _ in range(6)]
    async with shared() as pool:
        await asyncio.gather(*[pool.run(job_of(say, f"t{n}"), r) for n, r in enumerate(reports)])
    for n, report in enumerate(reports):
        lines = report.text().splitlines()
        assert [line for line in lines if line != "from a thread"] == [
            f"t{n} {k}" for k in range(300)
        ]
        assert report.text("stderr") == "to err\n"


async def test_prints_and_progress_come_while_it_runs() -> None:
    def step(go: str) -> None:
        print("begun")
        ctx.progress(0.5, "half")
        while not os.path.exists(go):
            time.sleep(0.01)

    async with shared() as pool:
        go = f"/tmp/twingraph-test-{os.getpid()}-{time.monotonic_ns()}"
        report = Memory()
        running = asyncio.create_task(pool.run(job_of(step, go), report))
        await until(lambda: report.progressed)
        assert report.logs == [("stdout", "begun\n")]
        assert report.progressed == [(0.5, "half")]
        assert not running.done()
        Path(go).touch()
        assert (await running).error is None
        os.unlink(go)


async def test_what_programs_and_c_code_write_is_in_the_log() -> None:
    def shell() -> None:
        subprocess.run(["sh", "-c", "echo out; echo err >&2"], check=True)
        os.write(1, b"raw\n")

    report = Memory()
    async with shared() as pool:
        await pool.run(job_of(shell), report)
    assert report.text() == "out\nraw\n"
    assert report.text("stderr") == "err\n"


async def test_a_flood_of_output_arrives_whole() -> None:
    def flood() -> None:
        for at in range(20_000):
            print("line", at)

    report = Memory()
    async with shared() as pool:
        await pool.run(job_of(flood), report)
    assert report.text() == "".join(f"line {at}\n" for at in range(20_000))
    assert len(report.logs) < 2_000


async def test_output_without_end_is_cut_and_said_so() -> None:
    def flood() -> None:
        line = "x" * 100_000 + "\n"
        for _ in range(1_000):
            print(line, end="")

    report = Memory()
    async with shared() as pool:
        assert (await pool.run(job_of(flood), report)).error is None
    assert "more output is not kept" in report.text("system")
    assert len(report.text()) < 70_000_000


# -- errors --------------------------------------------------------------------------------------


async def test_the_users_error_keeps_notes_cause_and_lines() -> None:
    def fail() -> None:
        try:
            {}["key"]
        except KeyError as exc:
            error = ValueError("no such row")
            error.add_note("try another")
            raise error from exc

    async with shared() as pool:
        with pytest.raises(ValueError, match="no such row") as caught:
            await run(pool, fail)
    assert caught.value.__notes__ == ["try another"]
    assert isinstance(caught.value.__cause__, KeyError)
    places = [(entry.path.name, entry.name) for entry in caught.traceback]
    assert places[-1] == ("test_process.py", "fail")
    assert "raise error from exc" in str(caught.traceback[-1].statement)


async def test_exit_interrupt_and_recursion_are_failures_of_the_task_alone() -> None:
    def leave() -> None:
        sys.exit(3)

    def interrupt() -> None:
        raise KeyboardInterrupt

    def deep() -> None:
        deep()

    def cancel() -> None:
        raise asyncio.CancelledError

    async with executor(1) as pool:
        pid = await run(pool, pid_of)
        with pytest.raises(TaskError, match=r"called sys\.exit\(3\)"):
            await run(pool, leave)
        with pytest.raises(TaskError, match="raised KeyboardInterrupt"):
            await run(pool, interrupt)
        with pytest.raises(TaskError, match="raised CancelledError"):
            await run(pool, cancel)
        with pytest.raises(RecursionError):
            await run(pool, deep)
        assert await run(pool, pid_of) == pid


async def test_a_result_that_cannot_be_pickled_is_named() -> None:
    def connect() -> dict[str, object]:
        return {"ok": 1, "db": sqlite3.connect(":memory:")}

    def local() -> object:
        class Inner: ...

        return Inner()

    def nested() -> list[object]:
        deep: list[object] = []
        for _ in range(100_000):
            deep = [deep]
        return deep

    async with shared() as pool:
        with pytest.raises(ResultError, match=r"connect gave the result\['db'\], a sqlite3\.Conn"):
            await run(pool, connect)
        with pytest.raises(ResultError, match=r"local gave the result, a .*Inner"):
            await run(pool, local)
        with pytest.raises(ResultError, match="nested"):
            await run(pool, nested)


async def test_an_input_that_cannot_be_pickled_is_named() -> None:
    async with shared() as pool:
        with pytest.raises(
            PortabilityError, match=r"same cannot travel.*\n.*x\['lock'\], a _thread"
        ):
            await run(pool, same, {"lock": threading.Lock()})
        assert await run(pool, same, 1) == 1


# -- dying ---------------------------------------------------------------------------------------


def kill_me() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash() -> None:
    ctypes.string_at(0)


def leave_at_once() -> None:
    os._exit(7)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (kill_me, r"kill_me was killed by signal SIGKILL; .*out-of-memory killer .*MiB"),
        (crash, r"(?s)crash was killed by signal SIGSEGV\nFatal Python error.*in crash"),
        (leave_at_once, r"leave_at_once ended with exit code 7"),
    ],
)
async def test_a_death_fails_its_task_alone_and_says_the_cause(function: object, said: str) -> None:
    async with executor() as pool:
        outcomes = await asyncio.gather(
            *[run(pool, same, n) for n in range(20)],
            run(pool, function),
            *[run(pool, same, n) for n in range(20)],
            return_exceptions=True,
        )
        died = outcomes.pop(20)
        assert isinstance(died, WorkerDied)
        with pytest.raises(WorkerDied, match=said):
            raise died
        assert outcomes == [*range(20), *range(20)]
        assert await run(pool, same, "more") == "more"


async def test_short_jobs_sent_ahead_survive_the_death_of_the_one_before_them(
    tmp_path: Path,
) -> None:
    def short(folder: str, at: int) -> int:
        with open(f"{folder}/{at}", "a") as file:
            file.write("ran\n")
        if at == 30:
            os.kill(os.getpid(), 9)
        return at

    job = job_of(short, str(tmp_path), 0)

    def call(at: int) -> object:
        made = type(job)("h", f"short[{at}]", job.component, {"folder": str(tmp_path), "at": at})
        return pool.run(made, Memory())

    async with executor(1) as pool:
        for _ in range(5):
            await call(0)  # they turn out to be short: others will be sent ahead
        (tmp_path / "0").unlink()
        outcomes = await asyncio.gather(*[call(at) for at in range(60)])
    died = [at for at, outcome in enumerate(outcomes) if outcome.error is not None]
    assert died == [30]
    assert [(tmp_path / str(at)).read_text() for at in range(60)] == ["ran\n"] * 60


async def test_jobs_behind_one_that_turns_out_long_go_to_another_worker() -> None:
    def maybe(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    job = job_of(maybe, 0.0)
    async with executor(2) as pool:

        async def call(seconds: float) -> object:
            made = type(job)("h", "maybe", job.component, {"seconds": seconds})
            return (await pool.run(made, Memory())).value

        await asyncio.gather(*[call(0.0) for _ in range(50)])
        long = asyncio.create_task(call(60.0))
        await asyncio.gather(*[call(0.0) for _ in range(60)])
        assert not long.done()
        long.cancel()
        with pytest.raises(asyncio.CancelledError):
            await long


async def test_a_cancelled_task_is_ended_with_what_it_started() -> None:
    def start(file: str) -> None:
        child = subprocess.Popen(["sleep", "600"])
        print(f"{os.getpid()} {child.pid}")
        child.wait()

    async with executor(1) as pool:
        report = Memory()
        running = asyncio.create_task(pool.run(job_of(start, "x"), report))
        await report.told.wait()
        pids = [int(p) for p in report.text().split()]
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await until(lambda: not any(map(is_alive, pids)))
        assert await run(pool, same, 1) == 1


async def test_a_cancelled_task_can_clean_up() -> None:
    def tidy(file: str) -> None:
        try:
            print("begun")
            time.sleep(600)
        finally:
            os.unlink(file)

    async with executor(1) as pool:
        file = Path(f"/tmp/twingraph-tidy-{os.getpid()}")
        file.touch()
        report = Memory()
        running = asyncio.create_task(pool.run(job_of(tidy, str(file)), report))
        await report.told.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not file.exists()


async def test_one_that_ignores_the_request_to_end_is_ended() -> None:
    def stubborn() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(os.getpid())
        time.sleep(600)

    async with executor(1) as pool:
        report = Memory()
        running = asyncio.create_task(pool.run(job_of(stubborn), report))
        await report.told.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not is_alive(int(report.text()))


async def test_a_waiting_task_can_be_cancelled_without_harm_to_the_running_one() -> None:
    async with executor(1) as pool:
        report = Memory()
        running = asyncio.create_task(pool.run(job_of(hold, 0.3), report))
        await report.told.wait()
        waiting = asyncio.create_task(pool.run(job_of(same, 1), Memory()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await running).error is None


async def test_close_ends_all_workers() -> None:
    async with executor(2) as pool:
        report = Memory()
        held = asyncio.create_task(pool.run(job_of(hold), report))
        await report.told.wait()
        await run(pool, same, 1)
        pids = pool.pids
        assert len(pids) == 2
    assert not any(map(is_alive, pids))
    assert isinstance((await held).error, WorkerDied)


KERNEL = """
import asyncio, sys
from tests.executors.running import Memory, executor, job_of
from tests.executors.test_process import hold, same, spin
async def main():
    async with executor(2) as pool:
        report = Memory()
        held = asyncio.create_task(pool.run(job_of({held}), report))
        await report.told.wait()
        await pool.run(job_of(same, 1), Memory())
        print(*pool.pids, flush=True)
        await held
asyncio.run(main())
"""


def spin() -> None:
    print("spinning")
    ctypes.PyDLL(None).sleep(600)  # holds the interpreter: no thread of the worker can run


@pytest.mark.parametrize("held", ["hold", "spin"])
async def test_no_worker_outlives_a_killed_kernel(held: str) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    kernel = subprocess.Popen(
        [sys.executable, "-c", KERNEL.format(held=held)], stdout=subprocess.PIPE, text=True, env=env
    )
    assert kernel.stdout is not None
    pids = [int(p) for p in kernel.stdout.readline().split()]
    assert len(pids) == 2
    assert all(map(is_alive, pids))
    kernel.kill()
    kernel.wait()
    kernel.stdout.close()
    await until(lambda: not any(map(is_alive, pids)))


SCRIPT = """
import asyncio, enum
from tests.executors.running import Memory, executor, job_of

class Unseen:
    def __init__(self, x): self.x = x
    def value(self): return scale(self.x)

class OwnError(ValueError):
    pass

def scale(x): return x * 2
def use(thing): return thing.value(), thing
def later(x): return scale(x)
def fail():
    raise OwnError("mine")

async def main():
    async with executor(1) as pool:
        async def run(function, *args):
            return await pool.run(job_of(function, *args), Memory())
        for _ in range(2):
            value, thing = (await run(use, Unseen(4))).value
            assert value == 8 and type(thing) is Unseen
        assert (await run(later, 3)).value == 6
        global scale
        def scale(x): return x * 10
        assert (await run(later, 3)).value == 30
        error = (await run(fail)).error
        assert type(error) is OwnError, error
        import traceback
        assert 'raise OwnError("mine")' in "".join(traceback.format_exception(error))
        local = type("Local", (), {})
        print((await run(use, local())).error)

asyncio.run(main())
"""


async def test_what_a_script_defines_goes_both_ways(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], env=env, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert "use cannot travel to platform 'process'" in done.stdout
    assert "thing, a Local" in done.stdout


async def test_ctrl_c_does_not_reach_the_workers() -> None:
    def interrupted() -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return "still here"

    async with shared() as pool:
        assert await run(pool, interrupted) == "still here"
        assert all(os.getpgid(pid) != os.getpgid(0) for pid in pool.pids)


async def test_a_child_that_the_user_forks_does_not_disturb_the_worker() -> None:
    def fork() -> int:
        pid = os.fork()
        if not pid:
            print("from the child", flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        return 1

    report = Memory()
    async with executor(1) as pool:
        assert (await pool.run(job_of(fork), report)).value == 1
        assert await run(pool, same, 1) == 1
    assert report.text() == "from the child\n"


async def test_the_current_folder_is_the_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def move() -> str:
        was = os.getcwd()
        os.chdir("/")
        return was

    async with executor(1) as pool:
        await run(pool, move)
        monkeypatch.chdir(tmp_path)
        assert await run(pool, move) == str(tmp_path)
        assert await run(pool, move) == str(tmp_path)


async def test_the_environment_is_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    def look() -> str | None:
        return os.environ.get("TWINGRAPH_TEST_LOOK")

    async with shared() as pool:
        assert await run(pool, look) is None
        monkeypatch.setenv("TWINGRAPH_TEST_LOOK", "set in a cell")
        assert await run(pool, look) == "set in a cell"
        monkeypatch.delenv("TWINGRAPH_TEST_LOOK")
        assert await run(pool, look) is None


@pytest.mark.parametrize(
    ("python", "said"),
    [
        ("/nonexistent/python", "could not be started: .*No such file"),
        ("/bin/false", "ended before it could run same: it ended with exit code 1"),
    ],
)
async def test_a_worker_that_cannot_start_is_an_executor_error(
    python: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", python)
    async with executor(1) as pool:
        with pytest.raises(ExecutorError, match=said):
            await run(pool, same, 1)
        monkeypatch.undo()
        assert await run(pool, same, 1) == 1


async def test_a_module_that_fails_in_the_worker_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "module_of_process_test.py"
    module.write_text("def step():\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    steps = importlib.import_module("module_of_process_test")
    async with executor(1) as pool:
        assert await run(pool, steps.step) == 1
        module.write_text("def step():\n    return 22\n")
        os.utime(module, (1, 1))
        importlib.reload(steps)
        assert await run(pool, steps.step) == 22  # not the version the worker had imported
        module.write_text("raise OSError('no licence')")
        os.utime(module, (2, 2))
        with pytest.raises(PortabilityError, match=r"OSError when it was loaded.*no licence"):
            await run(pool, steps.step)
