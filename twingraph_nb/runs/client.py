"""Drives the kernel: cell by cell, to the end of all runs, to a stop, or to the kernel's death."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol

import nbformat
from nbclient.exceptions import (
    CellExecutionComplete,
    CellExecutionError,
    CellTimeoutError,
    DeadKernelError,
)
from nbclient.util import ensure_async, run_sync
from papermill.clientwrap import PapermillNotebookClient

from twingraph_nb.errors import NotebookError
from twingraph_nb.events import ErrorInfo, RunStateName
from twingraph_nb.runs.death import MemoryWatch, cause_of_death
from twingraph_nb.runs.ending import FINISH, CellTrouble, Ending, left_from

__all__ = ["Client", "Progress"]

GRACE = 5.0  # seconds that a kernel has to obey an interrupt before it is killed
PATIENCE = 20  # seconds that a kernel has to cancel its runs before it is killed
ALIVE = 0.2  # seconds between two looks whether the kernel lives
LONGEST_FOLDER = 80  # characters; a socket's path may have 107 on Linux, 103 on macOS
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_CELL_LINE = re.compile(r"Cell In\[\d+\], line (\d+)")


class Progress(Protocol):
    """Who is told how far the notebook has come. Cells are counted from 1, code cells only."""

    def cell_started(self, number: int, source: str) -> None: ...
    def cell_done(self, number: int, seconds: float, *, good: bool) -> None: ...
    def waiting(self, what: str) -> None: ...


class Client(PapermillNotebookClient):  # type: ignore[misc]
    """papermill's client, which also knows why a kernel died, how to stop, and how to end well."""

    def __init__(self, nb_man: Any, *, progress: Progress, **options: object) -> None:
        super().__init__(nb_man, **options)
        self.progress = progress
        self.ending = Ending()
        self.stopping = ""
        self._memory: MemoryWatch | None = None
        self._pid = 0
        self._sockets = ""
        self._phase = 0  # counts cells, then the waits at the end

    def create_kernel_manager(self) -> Any:
        """Talk over sockets in a folder of this user: no open port, and quicker."""
        manager = super().create_kernel_manager()
        if os.name == "posix" and manager.ipykernel and len(self._sockets) < LONGEST_FOLDER:
            # the default would be relative to the working folder, and the kernel has its own
            manager.transport, manager.ip = "ipc", os.path.join(self._sockets, "kernel")
        return manager

    def run(self, env: Mapping[str, str], cwd: str | None) -> Ending:
        """Execute the notebook in a fresh kernel; how it ended is told, not raised.

        Raises:
            NotebookError: the kernel does not start.
        """
        self.reset_execution_trackers()
        options: dict[str, object] = {"env": dict(env), **({"cwd": cwd} if cwd else {})}
        with contextlib.ExitStack() as stack:
            self._sockets = stack.enter_context(tempfile.TemporaryDirectory(prefix="twingraph-"))
            try:
                stack.enter_context(self.setup_kernel(**options))
            except (RuntimeError, OSError) as exc:
                raise NotebookError(f"kernel {self.kernel_name!r} does not start: {exc}") from exc
            self._pid = getattr(self.km.provisioner, "pid", 0) or 0
            self._memory = MemoryWatch(self._pid)
            stack.callback(self._memory.stop)
            self._learn_language()
            self._run_cells()
            self._finish()
            self._phase += 1
            self.set_widgets_metadata()
        return self.ending

    def stop(self, why: str, *, by_user: bool = False) -> None:
        """Interrupt the running cell, from any thread or a signal handler; a second call kills."""
        again = bool(self.stopping)
        if not again:
            self.stopping = why
            self.ending.interrupted = by_user
            kind = "Interrupted" if by_user else "RunTimeout"
            self._end("cancelled" if by_user else "failed", ErrorInfo(kind, why))
            killer = threading.Timer(GRACE, self._signal, (signal.SIGKILL, self._phase))
            killer.daemon = True
            killer.start()
        self._signal(signal.SIGKILL if again else signal.SIGINT)

    def _signal(self, number: int, phase: int | None = None) -> None:
        """Signal the kernel's process group; with `phase`, only if that still lasts."""
        if self._pid and phase in (None, self._phase):
            with contextlib.suppress(OSError):
                os.killpg(self._pid, number)

    def _learn_language(self) -> None:
        reply = self.wait_for_reply(self.kc.kernel_info())
        if reply is not None:
            self.nb.metadata["language_info"] = reply["content"]["language_info"]

    def _run_cells(self) -> None:
        number = 0
        for index, cell in enumerate(self.nb.cells):
            if cell.cell_type != "code" or not cell.source.strip():
                continue
            number += 1
            if not self._run_cell(index, cell, number) or self.stopping:
                return

    def _run_cell(self, index: int, cell: Any, number: int) -> bool:
        self._phase += 1
        if self.stopping:  # while the kernel still started: its signal met nobody
            return False
        self.progress.cell_started(number, cell.source)
        began, good = time.monotonic(), False
        self.nb_man.cell_start(cell, index)
        try:
            self.execute_cell(cell, index)
            good = True
        except CellExecutionError as exc:
            self._fail(cell, number, _told_by_kernel(cell, exc))
        except CellTimeoutError as exc:
            self._fail(cell, number, ErrorInfo("CellTimeoutError", str(exc).splitlines()[0]))
            self._signal(signal.SIGINT)
        except DeadKernelError:
            self._fail(cell, number, self._death())
        finally:
            if not good:
                self.nb_man.cell_exception(cell, cell_index=index)
            self.nb_man.cell_complete(cell, cell_index=index)
            self.progress.cell_done(number, time.monotonic() - began, good=good)
        return good

    def _fail(self, cell: Any, number: int, error: ErrorInfo) -> None:
        if not any(out.output_type == "error" for out in cell.outputs):
            cell.outputs.append(
                nbformat.v4.new_output(
                    "error", ename=error.type, evalue=error.message, traceback=[error.message]
                )
            )
        self.ending.cell = CellTrouble(number, cell.source, error)
        if not self.stopping:
            self._end("failed", error)

    def _death(self) -> ErrorInfo:
        code = getattr(getattr(self.km.provisioner, "process", None), "returncode", None)
        cause = cause_of_death(code, self._memory.peak if self._memory else 0)
        if self.stopping:
            cause = "did not obey the interrupt, so it was killed"
        return ErrorInfo("KernelDied", f"the kernel {cause}")

    def _finish(self) -> None:
        """Wait for what no cell has waited for; after a failure or a stop, cancel it."""
        if self.ending.state == "succeeded":
            self.progress.waiting("waiting for runs")
            self._settle(cancel=False)
        if self.ending.state != "succeeded" and not self._dead():
            self.progress.waiting("cancelling what still runs")
            self._settle(cancel=True)

    def _dead(self) -> bool:
        return self.ending.error is not None and self.ending.error.type == "KernelDied"

    def _settle(self, *, cancel: bool) -> None:
        self._phase += 1
        try:
            reply = self._evaluate(FINISH.format(cancel=cancel), PATIENCE if cancel else None)
        except DeadKernelError:
            if not self.stopping:
                self._end("failed", self._death())
            return
        except CellTimeoutError:
            self._signal(signal.SIGKILL)
            return
        told = reply["content"].get("user_expressions", {}).get("left", {})
        if told.get("status") == "error" and not self.stopping:
            self._end("failed", ErrorInfo(told.get("ename", ""), told.get("evalue", "")))
        left = left_from(told.get("data", {}).get("text/plain", ""))
        self.ending.left += left
        bad = next((run for run in left if run.state != "succeeded"), None)
        if bad is not None and self.ending.state == "succeeded":
            said = f"{bad.name} in run {bad.run}, which no cell waited for, {bad.state}"
            self._end("failed", ErrorInfo("RunError", said + (f": {bad.error}" * bool(bad.error))))

    def _end(self, state: RunStateName, error: ErrorInfo) -> None:
        self.ending.state, self.ending.error = state, error

    async def _async_evaluate(self, expression: str, timeout: int | None) -> Any:
        """Evaluate in the kernel without a trace in the notebook; gives the reply."""
        scratch = nbformat.v4.new_code_cell(metadata={"execution": {}})
        message = await ensure_async(
            self.kc.execute(
                "", silent=True, store_history=False, user_expressions={"left": expression}
            )
        )
        output = asyncio.ensure_future(
            self._async_poll_output_msg(message, scratch, len(self.nb.cells))
        )
        alive = asyncio.ensure_future(self._async_poll_kernel_alive())
        self.task_poll_for_reply = asyncio.ensure_future(
            self._async_poll_for_reply(message, scratch, timeout, output, alive)
        )
        try:
            return await self.task_poll_for_reply
        except asyncio.CancelledError:
            output.cancel()
            raise DeadKernelError("Kernel died") from None

    _evaluate = run_sync(_async_evaluate)

    async def _async_poll_kernel_alive(self) -> None:
        while await ensure_async(self.kc.is_alive()):
            await asyncio.sleep(ALIVE)
        if self.task_poll_for_reply is not None:
            self.task_poll_for_reply.cancel()

    async def _async_poll_output_msg(self, parent_msg_id: str, cell: Any, cell_index: int) -> None:
        while True:
            message = await ensure_async(self.kc.iopub_channel.get_msg(timeout=None))
            if message["parent_header"].get("msg_id") != parent_msg_id:
                self._keep_picture(message)
                continue
            try:
                self.process_message(message, cell, cell_index)
            except CellExecutionComplete:
                return

    def _keep_picture(self, message: Any) -> None:
        """A picture of an earlier cell goes on changing while later cells run."""
        if message["msg_type"] == "update_display_data":
            display = (message["content"].get("transient") or {}).get("display_id")
            if display:
                self._update_display_id(display, message)
        elif message["msg_type"].startswith("comm"):
            self.handle_comm_msg([], message, 0)


def _told_by_kernel(cell: Any, exc: CellExecutionError) -> ErrorInfo:
    out = next((o for o in cell.outputs if o.output_type == "error"), None)
    if out is None:
        return ErrorInfo(exc.ename, exc.evalue, str(exc))
    text = _ANSI.sub("", "\n".join(out.traceback))
    lines = [int(n) for n in _CELL_LINE.findall(text)]
    return ErrorInfo(out.ename, out.evalue, text, line=lines[0] if lines else 0)
