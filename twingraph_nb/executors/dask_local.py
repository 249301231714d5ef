"""A Dask cluster of this machine in a process of its own, which ends with the kernel.

``python -m twingraph_nb.executors.dask_local 2`` says its address and serves until standard input
ends. Apart from the kernel, because Dask starts its workers by running a script's main module
again, and because a kernel that is killed could not end them.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys

from twingraph_nb.errors import ExecutorError

__all__ = ["LocalDask", "main"]

_GRACE = 10.0  # seconds to end


class LocalDask:
    """The cluster as the kernel holds it. Blocking calls."""

    def __init__(self, workers: int | None) -> None:
        """Start it.

        Raises:
            ExecutorError: it does not come up; with the last it said.
        """
        command = [sys.executable, "-m", __name__, str(workers or os.cpu_count() or 1)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the kernel: it decides
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().decode().strip()
        if not self.address:
            code = self._process.wait()
            self._shut()
            raise ExecutorError(
                f"no Dask cluster could be started on this machine: exit code {code}, "
                "its standard error says why"
            )

    @property
    def pid(self) -> int:
        """The process all others of the cluster end with."""
        return self._process.pid

    def close(self) -> None:
        """End it with all its processes."""
        self._shut()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _shut(self) -> None:
        for end in (self._process.stdin, self._process.stdout):
            if end is not None:
                end.close()


def main(workers: int) -> None:
    """Serve a cluster of that many processes on the loopback until standard input ends."""
    from distributed import LocalCluster

    with LocalCluster(
        host="127.0.0.1",
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        worker_dashboard_address=None,
        silence_logs=logging.ERROR,
    ) as cluster:
        os.write(1, f"{cluster.scheduler_address}\n".encode())
        while os.read(0, 1 << 10):
            pass


if __name__ == "__main__":
    main(int(sys.argv[1]))
