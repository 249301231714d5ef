"""Platform `process`: other interpreters, and environments with packages, built once."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import importlib
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.executors.running import Memory, is_alive, until, value_of
from tests.pythons.test_pythons import interpreters
from twingraph_nb import component
from twingraph_nb.component import make_component, shelf
from twingraph_nb.errors import ExecutorError, PortabilityError
from twingraph_nb.executors.base import Job
from twingraph_nb.executors.environments import Builder, Stopped
from twingraph_nb.executors.interpreters import NoInterpreter, find_interpreter
from twingraph_nb.executors.process import ProcessExecutor
from twingraph_nb.rebuild import Part, Payload, load
from twingraph_nb.settings import Settings

PYTHONS = {"the running one": sys.executable, **interpreters()}
FACTOR = 3


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that the tests share, so that an environment is built once."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that no index has: `tiny`, version 1.5."""
    return made_wheel(tmp_path_factory.mktemp("wheels"))


def made_wheel(folder: Path) -> Path:
    path = folder / "tiny-1.5-py3-none-any.whl"
    info = "tiny-1.5.dist-info"
    held = {
        "tiny.py": "SIZE = 7\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.5\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for name, text in held.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record += f"{name},sha256={digest.decode()},{len(text)}\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**held, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(name, text)
    return path


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, wheel: Path) -> None:
    """No index is asked: what there is lies in one folder."""
    for name in [n for n in os.environ if n.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for name in ("PIP_NO_INDEX", "UV_NO_INDEX", "UV_OFFLINE", "UV_NO_CONFIG"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("UV_FIND_LINKS", str(wheel.parent))


@contextlib.asynccontextmanager
async def executor(home: Path | None = None) -> AsyncIterator[ProcessExecutor]:
    settings = Settings.load()
    made = ProcessExecutor(replace(settings, processes=2, home=home or settings.home))
    await made.open()
    try:
        yield made
    finally:
        await made.close()
        assert made.pids == ()


def job_of(function: Callable[..., object], *args: object, **options: object) -> Job:
    made = make_component(function, platform="process", options=options, keep=False)
    return Job("h1", function.__name__, made, made.bind(args, {}), 1)


async def run(
    pool: ProcessExecutor, function: Callable[..., object], *args: object, **options: object
) -> object:
    return await value_of(await pool.run(job_of(function, *args, **options), Memory()))


def times(x: int) -> int:
    return x * FACTOR


def size() -> int:
    import tiny  # type: ignore[import-not-found]

    return int(tiny.SIZE)


class Shape:
    """Neither plain data nor a dataclass."""

    def __init__(self, side: int) -> None:
        self.side = side


class ShapeError(ValueError):
    pass


# -- interpreters ----------------------------------------------------------------------------------


@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS.keys())
async def test_a_component_runs_in_the_python_it_asks_for(python: str) -> None:
    def where(x: object) -> tuple[object, str, str, int]:
        import twingraph_nb

        version = ".".join(map(str, sys.version_info[:3]))
        return x, version, str(twingraph_nb.__file__), times(2)

    def grow(shape: Shape) -> Shape:
        return Shape(shape.side + 1)

    def fail() -> None:
        raise ShapeError("no side")

    async def drip(n: int) -> AsyncIterator[int]:
        for at in range(n):
            yield at

    value = {"a": [1, (2.5, None)], "b": b"x" * 3_000_000, "c": {3}}
    async with executor() as pool:
        back, version, kit, six = await run(pool, where, value, python=python)  # type: ignore[misc]
        assert (back, six) == (value, 6)
        assert version == find_interpreter(python, "c").version
        assert kit.startswith(str(Settings.load().home / "cache" / "kit"))
        shape = await run(pool, grow, Shape(3), python=python)
        assert isinstance(shape, Shape)
        assert shape.side == 4
        assert await run(pool, drip, 3, python=python) == [0, 1, 2]
        with pytest.raises(ShapeError, match="no side"):
            await run(pool, fail, python=python)


async def test_modules_beside_the_notebook_are_there_and_those_of_the_kernel_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside_environments_test.py").write_text("def five():\n    return 5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    beside = importlib.import_module("beside_environments_test")

    def both() -> tuple[int, str]:
        import beside_environments_test as there
        import tiny

        return there.five(), str(tiny)

    async with executor() as pool:
        assert await run(pool, beside.five, python=sys.executable) == 5
        with pytest.raises(ModuleNotFoundError, match="tiny") as caught:
            await run(pool, both, python=sys.executable)
    assert "add it, for example deps=['tiny']" in caught.value.__notes__[0]


def test_a_python_is_found_by_version_path_and_command(monkeypatch: pytest.MonkeyPatch) -> None:
    running = find_interpreter("", "c")
    assert find_interpreter(running.minor, "c") == running
    assert find_interpreter(running.version, "c") == running
    assert find_interpreter(sys.executable, "c") == running
    folder = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    assert find_interpreter(Path(sys.executable).name, "c") == running


@pytest.mark.parametrize(
    ("python", "said"),
    [
        ("3.99", "no interpreter of this version was found .*uv python install 3.99"),
        ("no-such-python", "no such program; .*give a version such as '3.12', a path"),
        ("/bin/false", "does not run as a Python interpreter"),
    ],
)
async def test_a_python_that_is_not_there_is_an_error_that_says_which_are(
    python: str, said: str
) -> None:
    async with executor() as pool:
        with pytest.raises(NoInterpreter, match=f"(?s)times cannot travel.*{said}") as caught:
            await run(pool, times, 1, python=python)
    assert "there are 3." in str(caught.value)


def test_syntax_that_is_too_new_is_placed_in_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "caller", shelf.caller)  # to load is the far side's business
    text = "    def step(x):\n        return (x\n            later x)\n"
    part = Part("function", "__main__", False, "step", "step", "cell.py", text, 11, 0)
    with pytest.raises(SyntaxError) as caught:
        load(Payload("step", "sync", "", (), 0, (part,), (), ("__main__",)), [], [])
    assert (caught.value.filename, caught.value.lineno) == ("cell.py", 12)


def older() -> Iterator[str]:
    """Interpreters on this machine that do not know ``except*``."""
    for version in ("3.9", "3.10"):
        with contextlib.suppress(NoInterpreter):
            yield find_interpreter(version, "c").path


async def test_syntax_that_the_python_lacks_is_an_error_with_cell_and_line() -> None:
    def newer(x: int) -> int:
        try:
            x += 1
        except* ValueError:
            x = 0
        return x

    for python in older():
        async with executor() as pool:
            with pytest.raises(PortabilityError) as caught:
                await run(pool, newer, 1, python=python)
        line = newer.__code__.co_firstlineno + 3
        assert f"test_environments.py, line {line}: Python 3." in str(caught.value)
        assert "except* ValueError:" in str(caught.value)


def test_it_works_from_a_notebook() -> None:
    @component(python=sys.executable)  # so it is platform "process"
    def there(x: int) -> tuple[int, str]:
        return x + 1, sys.executable

    tasks = [there(at) for at in range(20)]
    assert [task.result(60)[0] for task in tasks] == list(range(1, 21))


# -- packages --------------------------------------------------------------------------------------


async def test_an_environment_is_built_once_with_progress_in_the_log(kept: Path) -> None:
    async with executor(kept) as pool:
        first, second = Memory(), Memory()
        outcomes = await asyncio.gather(
            pool.run(job_of(size, deps=["tiny>=1", "tiny<2"]), first),
            pool.run(job_of(size, deps=["tiny<2", "tiny>=1", "tiny<2"]), second),
        )
        assert [outcome.value for outcome in outcomes] == [7, 7]
    told = first.text("system") + second.text("system")
    assert told.count("building an environment: Python 3.") == 1
    assert "tiny" in told
    assert told.endswith("the environment is ready\n")
    (ready,) = kept.glob("cache/environments/*/ready")
    used = ready.with_name("used").stat().st_mtime_ns
    async with executor(kept) as pool:
        report = Memory()
        outcome = await pool.run(job_of(size, deps=["tiny<2", "tiny>=1"]), report)
        assert (outcome.value, report.text("system")) == (7, "")
    assert ready.with_name("used").stat().st_mtime_ns > used


async def test_uv_builds_where_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uv").symlink_to(find_uv_bin())
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    async with executor(tmp_path) as pool:
        assert await run(pool, size, deps=["tiny<4"]) == 7
        with pytest.raises(PortabilityError, match=r"tiny>=9 is not to be had for Python 3\."):
            await run(pool, size, deps=["tiny>=9"])
    (about,) = tmp_path.glob("cache/environments/*/ready")
    assert "uv = " in about.with_name("pyvenv.cfg").read_text()


async def test_one_that_was_removed_is_built_again(kept: Path) -> None:
    async with executor(kept) as pool:
        assert await run(pool, size, deps=["tiny<3"]) == 7
        (ready,) = [p for p in kept.glob("cache/environments/*/ready") if "tiny<3" in about(p)]
        ready.parent.rename(ready.parent.with_suffix(".away"))
        report = Memory()
        assert (await pool.run(job_of(size, deps=["tiny<3"]), report)).value == 7
    assert "building an environment" in report.text("system")


def about(ready: Path) -> str:
    return ready.with_name("about.json").read_text()


BUILD = """
import sys
from pathlib import Path
from twingraph_nb.executors.environments import Builder
from twingraph_nb.executors.interpreters import find_interpreter
builder = Builder(Path(sys.argv[1]), find_interpreter("", "c"), ["tiny"])
builder.ready("c", lambda line: print(line, flush=True))
"""


def building(folder: Path) -> subprocess.Popen[str]:
    """Another process that builds an environment with `tiny`."""
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, str(folder)], stdout=subprocess.PIPE, text=True
    )


def test_two_processes_that_want_the_same_build_it_once(tmp_path: Path) -> None:
    both = [building(tmp_path), building(tmp_path)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert "".join(said).count("building an environment") == 1


def test_a_build_that_was_killed_half_way_is_begun_again(tmp_path: Path) -> None:
    process = building(tmp_path)
    assert process.stdout is not None
    assert "building" in process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (place,) = {p for p in tmp_path.glob("environments/*") if p.suffix != ".lock"} or {None}
    assert place is None or not (place / "ready").exists()
    said: list[str] = []
    python = Builder(tmp_path, find_interpreter("", "c"), ["tiny"]).ready("c", said.append)
    done = subprocess.run([python, "-c", "import tiny; print(tiny.SIZE)"], capture_output=True)
    assert done.stdout == b"7\n"
    assert "building an environment" in "\n".join(said)


async def test_a_build_that_nobody_waits_for_is_ended(tmp_path: Path) -> None:
    never = tmp_path / "slow-1.0"
    never.mkdir()
    (never / "setup.py").write_text(
        "import os, time\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    (never / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbackend-path = ["."]\nbuild-backend = "setup"\n'
    )
    async with executor() as pool:
        job = job_of(size, deps=[f"slow @ {never.as_uri()}"])
        running = asyncio.create_task(pool.run(job, Memory()))
        pid = tmp_path / "pid"
        await until(lambda: pid.exists() and pid.read_text())
        assert is_alive(int(pid.read_text()))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await until(lambda: not is_alive(int(pid.read_text())))


async def test_a_package_that_is_not_there_is_named_with_its_component() -> None:
    async with executor() as pool:
        with pytest.raises(PortabilityError) as caught:
            await run(pool, size, deps=["tiny>=9"])
        assert "size cannot travel to platform 'process'" in str(caught.value)
        assert "tiny>=9 is not to be had for Python 3." in str(caught.value)
        assert await run(pool, size, deps=["tiny"]) == 7


@pytest.mark.parametrize("wrong", ["?tiny", "-r /etc/passwd", "--index-url=http://x/"])
async def test_what_is_no_requirement_is_refused(wrong: str) -> None:
    async with executor() as pool:
        with pytest.raises(PortabilityError, match=r"requirement (is a package )?such as 'pandas"):
            await run(pool, size, deps=[wrong])


async def test_an_index_that_does_not_answer_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_NO_INDEX", "UV_NO_INDEX", "UV_OFFLINE"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    async with executor() as pool:
        with pytest.raises(ExecutorError, match=r"for size .*package index does not answer"):
            await run(pool, size, deps=["nowhere"])


def test_a_builder_that_waits_for_another_can_be_stopped(tmp_path: Path) -> None:
    first, second = (Builder(tmp_path, find_interpreter("", "c"), ["tiny"]) for _ in range(2))
    waits, ended = threading.Event(), list[object]()

    def wait() -> None:
        try:
            ended.append(second.ready("c", lambda line: waits.set()))
        except Stopped as exc:
            ended.append(exc)

    thread = threading.Thread(target=wait)

    def then(line: str) -> None:
        if not thread.is_alive() and not ended:
            thread.start()
            waits.wait()
            second.stop()
            thread.join()

    first.ready("c", then)
    assert isinstance(ended[0], Stopped)
