"""Workers stay for the next call, run side by side, print live, and go when they should."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from tests.executors.running import Memory, value_of
from tests.languages.samples import LANGUAGES, made, run
from twingraph_nb.component import Component
from twingraph_nb.errors import TaskCancelled, TaskTimeout, WorkerDied
from twingraph_nb.executors.base import Job, Outcome
from twingraph_nb.executors.native import NativeExecutor

SIGNATURE = "f(path: str) -> y: str"
PRINTING = {
    "javascript": "const f = (p) => { console.log('out é'); console.error('err'); return p }",
    "typescript": "function f(p: string) { console.log('out é'); console.error('err'); return p }",
    "bash": "echo 'out é'; echo err >&2; y=$path",
    "c++": "#include <iostream>\nstd::string f(std::string p) {"
    ' std::cout << "out é\\n"; std::cerr << "err\\n"; return p; }',
    "rust": 'fn f(p: &str) -> String { println!("out é"); eprintln!("err"); p.into() }',
}
WAITING = {
    "javascript": "const f = async (p) => { require('fs').writeFileSync(p, String(process.pid));"
    " console.log('begun'); await new Promise((ok) => setTimeout(ok, 1e6)); return p }",
    "typescript": "async function f(p: string) {"
    " require('fs').writeFileSync(p, String(process.pid)); console.log('begun'); for (;;) {} }",
    "bash": "echo $BASHPID > $path; echo begun; sleep 1000",
    "c++": "#include <fstream>\n#include <iostream>\nstd::string f(std::string p) {"
    ' std::ofstream(p) << getpid() << std::flush; std::cout << "begun" << std::endl;'
    " for (;;) pause(); }",
    "rust": "fn f(p: &str) -> String { std::fs::write(p, std::process::id().to_string()).unwrap();"
    ' println!("begun"); loop { std::thread::park() } }',
}


def job_of(component: Component, *args: object) -> Job:
    return Job("h1", component.name, component, component.bind(args, {}), 1)


@contextlib.asynccontextmanager
async def executor(idle: float = 60.0) -> AsyncIterator[NativeExecutor]:
    made = NativeExecutor(2, idle)
    await made.open()
    try:
        yield made
    finally:
        await made.close()
        assert made.pids == ()


async def begun(memory: Memory, running: asyncio.Task[Outcome]) -> None:
    """Return when what the code prints first has arrived, which is while it runs."""
    while "begun" not in memory.text():
        told = asyncio.ensure_future(memory.told.wait())
        await asyncio.wait({told, running}, return_when=asyncio.FIRST_COMPLETED)
        assert told.done(), running.result().error
        memory.told.clear()


async def gone(pid: int) -> None:
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("language", LANGUAGES)
async def test_prints_are_in_the_log_before_the_result(language: str) -> None:
    component, memory = made(language, SIGNATURE, PRINTING[language]), Memory()
    async with executor() as native:
        assert await value_of(await native.run(job_of(component, "x"), memory)) == "x"
        assert (memory.text(), memory.text("stderr")) == ("out é\n", "err\n")
        again = Memory()
        assert await value_of(await native.run(job_of(component, "y"), again)) == "y"
        assert again.text() == "out é\n"
        assert memory.workers == again.workers == [f"{language} {native.pids[0]}"]


@pytest.mark.parametrize("language", LANGUAGES)
async def test_cancel_ends_the_worker_and_all_it_started(language: str, tmp_path: Path) -> None:
    component, memory, note = made(language, SIGNATURE, WAITING[language]), Memory(), tmp_path / "n"
    async with executor() as native:
        running = asyncio.create_task(native.run(job_of(component, str(note)), memory))
        await begun(memory, running)
        started = [
            psutil.Process(int(note.read_text())),
            *psutil.Process(native.pids[0]).children(),
        ]
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        for process in started:
            await gone(process.pid)
        assert native.pids == ()


@pytest.mark.parametrize("language", LANGUAGES)
async def test_worker_that_is_killed_fails_its_task_alone(language: str, tmp_path: Path) -> None:
    component = made(language, SIGNATURE, WAITING[language])
    reports = [Memory(), Memory()]
    async with executor() as native:
        both = [
            asyncio.create_task(native.run(job_of(component, str(tmp_path / str(n))), report))
            for n, report in enumerate(reports)
        ]
        for report, running in zip(reports, both, strict=True):
            await begun(report, running)
        first = int(reports[0].workers[0].split()[-1])
        os.kill(first, signal.SIGKILL)
        error = (await both[0]).error
        assert isinstance(error, WorkerDied)
        assert f"the {language} worker that ran f was killed by signal SIGKILL" in str(error)
        assert not both[1].done()
        assert len(native.pids) == 1
        both[1].cancel()
        await asyncio.wait(both)


async def test_calls_beyond_the_workers_wait_their_turn(tmp_path: Path) -> None:
    component = made("rust", "f(x: int) -> y: int", "fn f(x: i64) -> i64 { x }")
    async with executor() as native:
        jobs = [native.run(job_of(component, n), Memory()) for n in range(200)]
        assert [await value_of(one) for one in await asyncio.gather(*jobs)] == list(range(200))
        assert 1 <= len(native.pids) <= 2


async def test_worker_without_work_goes() -> None:
    component = made("bash", SIGNATURE, PRINTING["bash"])
    async with executor(idle=0.05) as native:
        await native.run(job_of(component, "x"), Memory())
        (pid,) = native.pids
        await gone(pid)
        while native.pids:
            await asyncio.sleep(0.01)
        assert await value_of(await native.run(job_of(component, "y"), Memory())) == "y"


async def test_worker_follows_the_kernel_to_another_folder_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    component = made("bash", "f() -> here: str, word: str", "here=$PWD; word=${WORD-}")
    async with executor() as native:
        before = await value_of(await native.run(job_of(component), Memory()))
        assert tuple(before) == (os.getcwd(), "")  # type: ignore[arg-type]
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("WORD", "w")
        after = await value_of(await native.run(job_of(component), Memory()))
        assert tuple(after) == (str(tmp_path), "w")  # type: ignore[arg-type]


async def test_calls_of_bash_leave_nothing_behind_for_the_next() -> None:
    component = made("bash", "f() -> n: int", "n=$((${n:-0} + ${kept:-0} + 1)); kept=5; cd /")
    async with executor() as native:
        for _ in range(2):
            assert await value_of(await native.run(job_of(component), Memory())) == 1


async def test_million_lines_are_heard() -> None:
    code = 'fn f() -> i64 { for n in 0..1_000_000 { println!("{n}") } 0 }'
    component, memory = made("rust", "f() -> n: int", code), Memory()
    async with executor() as native:
        assert await value_of(await native.run(job_of(component), memory)) == 0
        assert memory.text().count("\n") == 1_000_000


PROGRESS = {
    "javascript": "function* f(n) { for (let i = 0; i < n; i++) {"
    " twingraph.progress((i + 1) / n, `step ${i}`); yield i * i } }",
    "c++": "int f(int n) { for (int i = 0; i < n; i++)"
    ' twingraph::progress((i + 1.0) / n, "step " + std::to_string(i)); return n; }',
    "rust": "fn f(n: i64) -> i64 { for i in 0..n {"
    ' twingraph::progress((i + 1) as f64 / n as f64, &format!("step {i}")); } n }',
    "bash": 'twingraph_progress 0.5 "step 0"; twingraph_progress 1 "step 1"; y=$n',
}


@pytest.mark.parametrize("language", PROGRESS)
async def test_progress_arrives(language: str) -> None:
    component, memory = made(language, "f(n: int) -> y: int", PROGRESS[language]), Memory()
    async with executor() as native:
        await value_of(await native.run(job_of(component, 2), memory))
    steps = [one for one in memory.progressed if one[1].startswith("step")]
    assert steps == [(0.5, "step 0"), (1.0, "step 1")]


async def test_generator_of_javascript_streams() -> None:
    code = PROGRESS["javascript"]
    component, memory = made("js", "f(n: int) -> y: int", code), Memory()
    assert str(component.outputs[0]) == "y: list[int]"
    async with executor() as native:
        assert await value_of(await native.run(job_of(component, 3), memory)) == [0, 1, 4]
    assert memory.chunks == [0, 1, 4]
    task = run(component, 3)
    assert [chunk async for chunk in task] == [0, 1, 4]


def test_task_of_the_session_is_cancelled_and_timed_out(tmp_path: Path) -> None:
    component = made("c++", SIGNATURE, WAITING["c++"])
    for n, end in enumerate(("cancel", "timeout")):
        one = component if end == "cancel" else component.on(timeout=0.3)
        note = tmp_path / str(n)
        task = run(one, str(note))
        while not (note.exists() and note.read_text()):
            time.sleep(0.01)
        if end == "cancel":
            task.cancel()
        with pytest.raises(TaskCancelled if end == "cancel" else TaskTimeout):
            task.result(60)
        asyncio.run(gone(int(note.read_text())))


def test_worker_ends_with_its_kernel(tmp_path: Path) -> None:
    note = tmp_path / "note"
    script = (
        "import sys, twingraph_nb\n"
        f"f = twingraph_nb.component(language='c++', signature={SIGNATURE!r}, "
        f"code={WAITING['c++']!r})\n"
        "f(sys.argv[1]).result()\n"
    )
    kernel = subprocess.Popen([sys.executable, "-c", script, str(note)])
    while not (note.exists() and note.read_text()):
        time.sleep(0.01)
    kernel.kill()
    kernel.wait()
    asyncio.run(gone(int(note.read_text())))
