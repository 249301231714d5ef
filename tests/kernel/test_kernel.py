"""In a real kernel: cells stay usable, queued cells all run, the stop button stops."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel

SETUP = """
import asyncio, threading, time
from twingraph_nb import component, async_component, pipeline, get_session

@async_component()
async def tick(n):
    await asyncio.sleep(0.01)
    return n

@pipeline()
async def ticks(n):
    for i in range(n):
        await tick(i)
    return n

@component()
def talk(word):
    for i in range(3):
        print(word, i)
        time.sleep(0.01)
    return word
"""


@dataclass
class Cell:
    """What one cell gave."""

    stdout: str = ""
    result: str = ""
    error: str = ""
    message: str = ""
    traceback: str = ""
    idle: bool = False
    number: int = 0


@dataclass
class Kernel:
    manager: KernelManager
    client: BlockingKernelClient

    def run(self, *cells: str, interrupt_after: str = "", timeout: float = 30) -> list[Cell]:
        """Queue all cells at once and wait until all are through."""
        ids = {self.client.execute(code): Cell() for code in cells}
        end = time.monotonic() + timeout
        while not all(cell.idle for cell in ids.values()):
            message = self.client.get_iopub_msg(timeout=max(0.1, end - time.monotonic()))
            cell = ids.get(message["parent_header"].get("msg_id"))
            if cell is None:
                continue
            content = message["content"]
            if message["msg_type"] == "stream":
                cell.stdout += content["text"]
                if interrupt_after and interrupt_after in cell.stdout:
                    interrupt_after = ""
                    time.sleep(0.3)  # the cell goes from its print on to its wait
                    self.manager.interrupt_kernel()
            elif message["msg_type"] == "execute_input":
                cell.number = content["execution_count"]
            elif message["msg_type"] == "execute_result":
                cell.result = content["data"]["text/plain"]
            elif message["msg_type"] == "error":
                cell.error, cell.message = content["ename"], content["evalue"]
                cell.traceback = "\n".join(content["traceback"])
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                cell.idle = True
        return list(ids.values())


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """The one kernel of all tests, of which the last ends it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWINGRAPH_HOME", str(tmp_path_factory.mktemp("home")))
        manager, client = start_new_kernel(kernel_name="python3")
    try:
        kernel = Kernel(manager, client)
        (setup,) = kernel.run(SETUP)
        assert setup.error == "", setup.message
        yield kernel
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_run_goes_on_while_another_cell_blocks_the_kernel(kernel: Kernel) -> None:
    cells = kernel.run(
        "run = ticks(20)",
        "while run.state == 'running': time.sleep(0.05)\nprint(run.state, run.result())",
    )
    assert cells[1].stdout == "succeeded 20\n"


def test_four_queued_cells_all_run_and_top_level_await_works(kernel: Kernel) -> None:
    cells = kernel.run(
        "a = ticks(5)",
        "print(await a)",
        "print(await tick(7), tick(8).result())",
        "print((await asyncio.gather(tick(1), ticks(2))))",
    )
    assert [cell.stdout for cell in cells] == ["", "5\n", "7 8\n", "[1, 2]\n"]
    assert [cell.error for cell in cells] == [""] * 4


def test_prints_of_tasks_go_to_their_logs_and_those_of_cells_to_the_cells(kernel: Kernel) -> None:
    cells = kernel.run(
        "t = talk('one'); print('cell 1')",
        "while not t.done: time.sleep(0.01)\nprint('cell 2')",
        "print(repr(t.logs), talk('two').result())",
    )
    assert [cell.stdout for cell in cells] == [
        "cell 1\n",
        "cell 2\n",
        "'one 0\\none 1\\none 2\\n' two\n",
    ]


@pytest.mark.parametrize("wait", ["run.result()", "await run"])
def test_stop_button_interrupts_a_waiting_cell_and_cancels_its_run(
    kernel: Kernel, wait: str
) -> None:
    started = time.monotonic()
    (waiting,) = kernel.run(
        f"run = ticks(100000); print('up', flush=True); {wait}", interrupt_after="up"
    )
    assert time.monotonic() - started < 20
    assert waiting.error in ("KeyboardInterrupt", "CancelledError")
    (after,) = kernel.run(
        "try:\n    run.result(10)\nexcept Exception:\n    print(run.state, tick(1).result())"
    )
    assert after.stdout == "cancelled 1\n"
    assert time.monotonic() - started < 30  # the run itself would take 1,000 s


def test_error_of_a_task_shows_the_cells_own_lines(kernel: Kernel) -> None:
    defined, failed = kernel.run(
        "@component()\ndef broken(x):\n    y = x + 1\n    return 1 / (y - y)",
        "broken(1).result()",
    )
    assert (failed.error, failed.message) == ("ZeroDivisionError", "division by zero")
    plain = _without_colours(failed.traceback)
    assert "----> 4     return 1 / (y - y)" in plain
    assert f"in component broken, cell [{defined.number}], line 4" in plain
    assert "drive.py" not in plain


def test_class_of_a_cell_that_ran_again_as_it_was_before_is_the_one_that_travels(
    kernel: Kernel,
) -> None:
    one, two = (f"@dataclass\nclass Level:\n    x: int = {x}" for x in (1, 2))
    cells = kernel.run(
        "from dataclasses import dataclass",
        *(one, two, one),
        "@component(platform='process')\ndef level():\n    return Level().x",
        "print(level().result())",
    )
    assert [cell.error for cell in cells] == [""] * 6
    assert cells[-1].stdout == "1\n"


def test_kernel_shuts_down_at_once_with_a_run_that_never_ends(kernel: Kernel) -> None:
    kernel.run("run = ticks(10**9)")
    started = time.monotonic()
    kernel.manager.shutdown_kernel(now=False)
    assert not kernel.manager.is_alive()
    assert time.monotonic() - started < 20


def _without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
