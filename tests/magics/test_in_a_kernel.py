"""What needs a real kernel: its running loop, its queue, its tracebacks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Empty

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

PATIENCE = 60.0
"""Seconds; only a hanging kernel takes that long."""


@pytest.fixture
def kernel(home: Path) -> Iterator[BlockingKernelClient]:
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run_queued(client: BlockingKernelClient, cells: Sequence[str]) -> list[str]:
    """Send all cells at once, as Run All does; give what each printed, or its error's text."""
    ids = [client.execute(cell, store_history=True) for cell in cells]
    told = dict.fromkeys(ids, "")
    waiting = set(ids)
    while waiting:
        try:
            message = client.get_iopub_msg(timeout=PATIENCE)
        except Empty:
            pytest.fail(f"{len(waiting)} of {len(cells)} cells never ended; so far: {told}")
        parent = message["parent_header"].get("msg_id")
        content = message["content"]
        if message["msg_type"] == "stream" and parent in told:
            told[parent] += content["text"]
        elif message["msg_type"] == "error" and parent in told:
            told[parent] += re.sub(r"\x1b\[[\d;]*m", "", "\n".join(content["traceback"]))
        elif message["msg_type"] == "status" and content["execution_state"] == "idle":
            waiting.discard(parent)
    return [told[one] for one in ids]


def test_asyncio_run_leaves_queued_cells_alone(kernel: BlockingKernelClient) -> None:
    told = run_queued(
        kernel,
        [
            "%load_ext twingraph_nb\n%twingraph nest off\nimport asyncio, contextlib\n"
            "async def f():\n    await asyncio.sleep(0.05)\n    print('inside')\n    return 42",
            "get_ipython().run_line_magic('twingraph', 'nest')\nprint(asyncio.run(f()))",
            "print('third')",
            "print(asyncio.run(f()))",
        ],
    )
    assert told[1:] == ["inside\n42\n", "third\n", "inside\n42\n"]


def test_component_cells_queued_at_once_and_their_errors(kernel: BlockingKernelClient) -> None:
    told = run_queued(
        kernel,
        [
            "%load_ext twingraph_nb",
            "%%component broken(x: int) -> y\n\n# why\ny = 1 / x",
            "%%component step --retires 3\ndef step(): pass",
        ],
    )
    assert told[2].startswith("UnknownOption: %%component step: unknown option 'retires'")
    assert "Traceback" not in told[2]
    shown = run_queued(kernel, ["broken(0).result()"])[0]
    assert re.search(r"Cell In\[2\], line 4, in broken\(x\)", shown)
    assert "----> 4 y = 1 / x" in shown


def test_stop_button_ends_a_nested_asyncio_run(kernel: BlockingKernelClient, home: Path) -> None:
    mark = home.parent / "mark"
    run_queued(kernel, ["%load_ext twingraph_nb\n%twingraph nest\nimport asyncio, os, signal"])
    told = run_queued(
        kernel,
        [
            "async def f():\n    try:\n        os.kill(os.getpid(), signal.SIGINT)\n"
            f"        await asyncio.sleep(600)\n    finally:\n        open({str(mark)!r}, 'w')\n"
            "asyncio.run(f())",
        ],
    )
    assert "KeyboardInterrupt" in told[0]
    assert mark.exists()
