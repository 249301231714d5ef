"""Where a component runs that asks for another Python or for packages: one pool for each."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

from twingraph_nb import __version__
from twingraph_nb.component import Component
from twingraph_nb.errors import PortabilityError
from twingraph_nb.executors.base import Job, Report
from twingraph_nb.executors.environments import Builder, Stopped
from twingraph_nb.executors.interpreters import find_interpreter
from twingraph_nb.executors.kit import kit_sources
from twingraph_nb.executors.lacking import absent, lacking, unfit
from twingraph_nb.executors.pool import Pool
from twingraph_nb.executors.process_worker import Foreign, ProcessWorker
from twingraph_nb.executors.travel import Travel
from twingraph_nb.settings import Settings
from twingraph_nb.source.local import own_folders

__all__ = ["Place", "Places", "Wanted", "blamed", "kit_folder", "wanted_of"]

_IDLE = 60.0  # seconds after which a worker without work ends
_MODULES = ("remote_process", "segments")
Wanted = tuple[str, tuple[str, ...]]
"""The interpreter that was asked for, and the requirements."""


class Place(NamedTuple):
    """A pool of workers, and how jobs travel to it.

    python: the version there, "" = as here. path: of the interpreter.
    """

    pool: Pool
    travel: Travel
    python: str = ""
    path: str = ""


def wanted_of(component: Component) -> Wanted | None:
    """Give what a component asks for; None if the kernel's own Python will do."""
    options = component.options
    python, deps = options.get("python"), options.get("deps")
    if not python and not deps:
        return None
    return str(python or ""), tuple(sorted(set(deps or ())))  # type: ignore[call-overload]


class Places:
    """The pools for other interpreters and environments, each made when it is first wanted."""

    def __init__(self, settings: Settings) -> None:
        self._size, self._cache = settings.processes, settings.home / "cache"
        self._made: dict[Wanted, Place] = {}
        self._making: dict[Wanted, _Making] = {}
        self._lost: list[Place] = []  # their environments were removed; tasks may still run there

    @property
    def made(self) -> tuple[Place, ...]:
        """Those there are now."""
        return (*self._made.values(), *self._lost)

    async def get(self, wanted: Wanted, job: Job, report: Report) -> Place:
        """Give the place, made if need be; a build that nobody waits for any more is ended.

        Raises:
            PortabilityError: there is no such interpreter or package.
            ExecutorError: the environment could not be built.
        """
        found = self._made.get(wanted)
        if found is not None:
            if os.path.exists(found.path):
                return found
            self._lost.append(self._made.pop(wanted))
        making = self._making.get(wanted)
        if making is None:
            making = self._making[wanted] = _Making(self, wanted, job.name)
        making.reports.append(report)
        try:
            return await asyncio.shield(making.task)
        finally:
            making.reports.remove(report)
            if not making.reports:
                making.stop()
                if self._making.get(wanted) is making:
                    del self._making[wanted]

    async def close(self) -> None:
        """End all workers and all builds."""
        making = [one.task for one in self._making.values()]
        for one in self._making.values():
            one.stop()
        await asyncio.gather(*making, return_exceptions=True)
        for place in self.made:
            await place.pool.close()
            place.travel.clear()
        self._made.clear()
        self._lost.clear()

    async def make(self, making: _Making, wanted: Wanted) -> Place:
        """Find the interpreter, build the environment, and give the place."""
        python, version = await asyncio.to_thread(self._prepared, making, wanted)
        foreign = Foreign(python, await asyncio.to_thread(kit_folder, self._cache))
        pool = Pool(self._size, partial(ProcessWorker, foreign=foreign), _IDLE)
        travel = Travel("process", trust=True, path=own_folders())
        made = self._made[wanted] = Place(pool, travel, version, python)
        return made

    def _prepared(self, making: _Making, wanted: Wanted) -> tuple[str, str]:
        asked, deps = wanted
        interpreter = find_interpreter(asked, making.component)
        if not deps:
            return interpreter.path, interpreter.minor
        making.builder = Builder(self._cache, interpreter, deps)
        if making.stopped:
            raise Stopped
        return making.builder.ready(making.component, making.tell), interpreter.minor


class _Making:
    """A place that is being made, and who waits for it."""

    def __init__(self, places: Places, wanted: Wanted, component: str) -> None:
        self.component = component
        self.reports: list[Report] = []
        self.builder: Builder | None = None
        self.stopped = False
        self.task = asyncio.get_running_loop().create_task(places.make(self, wanted))
        self.task.add_done_callback(_heard)

    def tell(self, line: str) -> None:
        """Put a line into the log of the first task that waits; from any thread."""
        for report in self.reports[:1]:
            report.log("system", f"{line}\n")

    def stop(self) -> None:
        """End the build, if it still goes on."""
        self.stopped = True
        if self.builder is not None:
            self.builder.stop()


def _heard(task: asyncio.Task[Place]) -> None:
    """Nobody may be left who waits for the error."""
    if not task.cancelled():
        task.exception()


def kit_folder(cache: Path) -> str:
    """Give the folder with the part of this package that a foreign interpreter imports."""
    sources = kit_sources(_MODULES)
    digest = hashlib.sha256(repr(sorted(sources.items())).encode()).hexdigest()[:12]
    place = cache / "kit" / f"{__version__}-{digest}"
    try:
        os.utime(place)  # when it was used last, for whoever cleans up
    except FileNotFoundError:
        place.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=place.parent))
        try:
            root = new / "twingraph_nb"
            root.mkdir()
            for name, text in sources.items():
                file = name.partition(".")[2] or "__init__"
                (root / f"{file}.py").write_text(text, "utf-8")
            os.rename(new, place)
        except OSError:
            shutil.rmtree(new, ignore_errors=True)
            if not place.is_dir():  # no other process has made it meanwhile
                raise
    return str(place)


def blamed(job: Job, error: BaseException, place: Place) -> BaseException:
    """Give the error of a task in another Python: what is due to that is said so."""
    if isinstance(error, ModuleNotFoundError):
        error.add_note(f"the task runs in Python {place.python} {_cure(job, error.name)}")
        return error
    cause = error.__cause__
    if not isinstance(error, PortabilityError) or cause is None:
        return error
    if isinstance(cause, SyntaxError):
        said = f"{_where(job, cause)}: Python {place.python}, where it is to run, says: {cause.msg}"
        text = (cause.text or "").strip()
        said += f"\n    {text}" if text else ""
        said += "\n    take another python=, or rewrite the line"
    elif (missing := absent(cause)) is not None:
        cure = f"the task runs in Python {place.python} {_cure(job, missing.name)}"
        says = lacking if missing is cause else unfit
        said = says(job.component, cause, cure)
    else:
        said = "; ".join(error.problems) + f" (it runs in Python {place.python})"
    made = PortabilityError(job.name, "process", [said])
    made.__cause__ = cause
    return made


def _cure(job: Job, module: str | None) -> str:
    package = (module or "the package").partition(".")[0]
    deps = [*(job.component.options.get("deps") or ()), package]  # type: ignore[misc]
    python = job.component.options.get("python")
    named = f" of python={python!r}" if python else ""
    return f"with the packages{named} and deps= alone: add it, for example deps={deps!r}"


def _where(job: Job, error: SyntaxError) -> str:
    source = job.component.source
    name = error.filename or ""
    cell = source.cell if source.cell and name == source.filename else name
    return f"{cell}, line {error.lineno}"
