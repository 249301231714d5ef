"""Whole programs: a script, `python -i`, Ctrl-C, a killed process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from twingraph_nb.store import RunRow, Store

HEAD = """
    import asyncio, os, sys, threading, time
    from twingraph_nb import component, async_component, pipeline, get_session
"""


def script(tmp_path: Path, body: str, head: str = HEAD) -> Path:
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(head) + textwrap.dedent(body))
    return path


def python(*args: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=60,
        **kwargs,  # type: ignore[call-overload]
    )


def runs(home: Path) -> list[RunRow]:
    with contextlib.closing(Store.open(home, readonly=True)) as store:
        return store.runs()


def test_script_waits_at_exit_for_what_nobody_awaited(tmp_path: Path, home: Path) -> None:
    done = python(
        script(
            tmp_path,
            """
            @component()
            def write(name):
                time.sleep(0.1)
                with open(name, "w") as file:
                    file.write("done")

            @pipeline()
            async def writes(folder):
                for i in range(3):
                    if sys.version_info[:3] not in [(3, 12, 0), (3, 12, 1)]:
                        await asyncio.to_thread(time.sleep, 0.01)  # these refuse it at exit
                    write(f"{folder}/{i}")

            writes(sys.argv[1])
            write(sys.argv[1] + "/loose")
            """,
        ),
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(p.name for p in tmp_path.glob("[0-9l]*")) == ["0", "1", "2", "loose"]
    assert sorted(row.state for row in runs(home)) == ["succeeded", "succeeded"]


def test_failure_that_nobody_awaited_is_told_at_exit(tmp_path: Path) -> None:
    done = python(
        script(
            tmp_path,
            """
            @component()
            def fails():
                time.sleep(0.1)
                raise ValueError("unseen")

            @pipeline()
            def silent():
                fails()

            silent()
            """,
        )
    )
    assert done.stderr == "twingraph: silent failed: ValueError: unseen\n"


def test_asyncio_run_in_a_script_awaits_tasks_and_runs(tmp_path: Path) -> None:
    done = python(
        script(
            tmp_path,
            """
            @async_component()
            async def double(x):
                return 2 * x

            @pipeline()
            async def twice(x):
                return await double(await double(x))

            async def main():
                print(await double(1), await twice(1), await asyncio.gather(double(2), twice(2)))

            asyncio.run(main())
            """,
        )
    )
    assert (done.stdout, done.stderr) == ("2 4 [4, 8]\n", "")


def test_python_i_works_line_by_line() -> None:
    lines = """
        from twingraph_nb import component
        @component()
        def f(x):
            return x + 1

        t = f(f(1))
        t.result(), t.state
    """
    done = python("-i", "-q", input=textwrap.dedent(lines))
    assert done.stdout == "(3, 'succeeded')\n"


def test_ctrl_c_interrupts_the_wait_and_cancels_the_run(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        """
        import signal

        # whoever started the tests may ignore it
        signal.signal(signal.SIGINT, signal.default_int_handler)

        @async_component()
        async def forever():
            await asyncio.Event().wait()

        asked = threading.Event()

        @pipeline()
        def waits():
            asked.wait()
            print("up", flush=True, file=sys.__stdout__)
            return forever()

        run = waits()
        try:
            asked.set()
            run.result()
        except KeyboardInterrupt:
            try:
                run.result(10)
            except Exception as exc:
                print(run.state, exc)
        """,
    )
    process = subprocess.Popen(
        [sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    time.sleep(1.0)  # from the event on to the wait
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("cancelled run waits (")
    assert out.endswith("interrupted\n")


def test_killed_process_leaves_a_whole_log_and_finished_work_is_not_done_again(
    tmp_path: Path, home: Path
) -> None:
    path = script(
        tmp_path,
        """
        @component(cache=True)
        def step(i):
            with open(sys.argv[1], "a") as file:
                file.write(f"{i}\\n")
            return i

        @component()
        def kill(xs):
            os.kill(os.getpid(), 9)

        @pipeline()
        def steps(n, end):
            done = step.map(list(range(n)))
            return kill(done) if end else done

        print(steps(20, sys.argv[2] == "kill").result())
        """,
    )
    marks = tmp_path / "marks"
    killed = python(path, marks, "kill")
    assert killed.returncode == -signal.SIGKILL
    (row,) = runs(home)
    assert (row.state, row.name) == ("interrupted", "steps")
    again = python(path, marks, "finish")
    assert (again.stdout, again.stderr) == (f"{list(range(20))}\n", "")
    assert sorted(map(int, marks.read_text().split())) == list(range(20))


def test_forked_child_gets_a_session_of_its_own(tmp_path: Path) -> None:
    done = python(
        script(
            tmp_path,
            """
            @component()
            def f(x):
                return x + 1

            print(f(1).result(), flush=True)
            child = os.fork()
            if child == 0:
                print(f(2).result(), flush=True)
                get_session().close()
                os._exit(0)
            print(os.waitpid(child, 0)[1])
            """,
        ),
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert (done.stdout, done.stderr) == ("2\n3\n0\n", "")


def test_full_disk_or_bad_home_does_not_stop_the_work(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = python(
        script(
            tmp_path,
            """
            @component()
            def f(x):
                return x + 1

            print(f(1).result(), get_session().troubles != [])
            """,
        ),
        env={**os.environ, "TWINGRAPH_HOME": str(blocked)},
    )
    assert done.stdout == "2 True\n"
    assert "twingraph: this session is not being recorded: " in done.stderr
