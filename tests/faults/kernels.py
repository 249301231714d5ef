"""A kernel that is killed while its task runs elsewhere, and the one that comes after it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from twingraph_nb.events import TaskLogged, TaskTicketed
from twingraph_nb.store import Store

__all__ = ["DYING", "Kernel", "is_kept"]

ROOT = Path(__file__).parents[2]
SCRIPT = """
import importlib, json, os, signal, sys
from twingraph_nb import component, pipeline
from twingraph_nb.session import get_session

OPTIONS = json.loads(os.environ["OPTIONS"])

@component(platform=sys.argv[1], **OPTIONS)
def slow(seconds: float, gate: str, ballast: bytes = b"") -> list:
    import os, time, uuid
    me = uuid.uuid4().hex
    if gate:
        with open(f"{gate}/began", "a") as file:
            file.write(me + "\\n")
    print("began", me, flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not (gate and os.path.exists(f"{gate}/go")):
        time.sleep(0.02)
    if gate and os.path.exists(f"{gate}/fail"):
        import not_there
    print("ended", me, flush=True)
    return [me, len(ballast)]

@pipeline()
def work(seconds: float, gate: str, size: int):
    return slow(seconds, gate, bytes(size))

"""
DYING = """
def die_after(spot: str) -> None:
    home, _, name = spot.rpartition(".")
    module, _, owner = home.rpartition(".")
    place = getattr(importlib.import_module(module), owner)
    call = getattr(place, name)

    def last(*args, **kwargs):
        call(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(place, name, last)
"""
SCRIPT += (
    DYING
    + """
if __name__ == "__main__":
    if os.environ.get("DIE_AFTER"):
        die_after(os.environ["DIE_AFTER"])
    if len(sys.argv) > 2:
        run = get_session().resume(sys.argv[2])
    else:
        run = work(float(os.environ["LONG"]), os.environ.get("GATE", ""), int(os.environ["SIZE"]))
    result = run.result()
    logs = "".join(task.logs for task in run.tasks)
    print("result", json.dumps([result, logs]))
"""
)


def is_kept(events: Iterable[object]) -> bool:
    """True once the far side of a task knows what its ticket says: what it says then is heard
    later."""
    kinds = [type(event) for event in events]
    if TaskTicketed not in kinds:
        return False
    return kinds[kinds.index(TaskTicketed) :].count(TaskLogged) > 2


class Kernel:
    """Runs the script, and is killed.

    seconds: the task takes at most. gate: a folder as the task sees it, in which a file "go" ends
    the task, with an error if there is "fail", and "began" gets a line each time it begins. size:
    bytes of an input. script: another one that knows the same variables of its environment.
    """

    def __init__(
        self,
        folder: Path,
        home: Path,
        platform: str,
        options: Mapping[str, object],
        *,
        seconds: float,
        gate: str = "",
        size: int = 0,
        script: str = SCRIPT,
        **environ: str,
    ) -> None:
        self.script = folder / "slow.py"
        self.script.write_text(script)
        self.home, self.platform = home, platform
        said = {"LONG": str(seconds), "GATE": gate, "SIZE": str(size)}
        self.environ = {**os.environ, "PYTHONPATH": str(ROOT), "OPTIONS": json.dumps(options)}
        self.environ |= {**said, **environ}

    def die(self) -> str:
        """Start a run and kill it once its task has begun; gives the mark of that execution."""
        self.die_when(lambda: bool(self._mark()))
        return self._mark()

    def die_when(self, ready: Callable[[], bool], *words: str) -> None:
        """Start or resume a run and kill it once something is so."""
        process = self._started(*words)
        try:
            _wait(process, ready)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def die_after(self, spot: str, *words: str) -> None:
        """Start or resume a run that kills itself when a method, by its full name, has returned."""
        process = self._started(*words, DIE_AFTER=spot)
        assert process.wait(timeout=100) == -signal.SIGKILL

    def resume(self) -> tuple[list[object], str]:
        """Resume the newest run; gives its result, and all that its task has printed."""
        done = self._resumed()
        assert done.returncode == 0, done.stderr
        return _told(done.stdout)

    def fail(self) -> str:
        """Resume the newest run, which fails; gives what is said then."""
        done = self._resumed()
        assert done.returncode == 1, done.stdout
        return done.stderr

    def resume_through(self, act: Callable[[], None]) -> tuple[list[object], str]:
        """Resume the newest run, and do something once it has heard its task; as `resume`."""
        before = self.events()[0]

        def heard() -> bool:
            told = self.events()
            return told[0] != before and any(isinstance(event, TaskLogged) for event in told)

        with subprocess.Popen(
            [sys.executable, str(self.script), self.platform, "last"],
            env=self.environ, stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            try:
                _wait(process, heard)
                act()
                said, _ = process.communicate(timeout=100)
            finally:
                process.kill()
        return _told(said)

    def tickets(self) -> list[str]:
        """All tickets of the newest run."""
        return [event.ticket for event in self.events() if isinstance(event, TaskTicketed)]

    def _resumed(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(self.script), self.platform, "last"],
            env=self.environ, capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip

    def _started(self, *words: str, **environ: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(self.script), self.platform, *words]
        return subprocess.Popen(command, env={**self.environ, **environ})

    def _mark(self) -> str:
        said = "".join(e.text for e in self.events() if isinstance(e, TaskLogged))
        return said.split("began ")[-1].split()[0] if "began " in said else ""

    def events(self) -> list[object]:
        """All events of the newest run that are on disk."""
        if not Store.exists(self.home):
            return []
        store = Store.open(self.home, readonly=True)
        try:
            runs = store.runs()
            return [e for b in store.events(runs[0].id) for e in b.events] if runs else []
        finally:
            store.close()


def _told(said: str) -> tuple[list[object], str]:
    value, logs = json.loads(said.split("result ", 1)[1])
    return value, logs


def _wait(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 90
    while not ready():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)
