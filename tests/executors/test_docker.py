"""Platform `docker` beyond what all platforms promise: rights, images, files, leftovers."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.executors.running import Memory
from twingraph_nb.component import make_component
from twingraph_nb.errors import ExecutorError, PortabilityError, Unreachable
from twingraph_nb.executors.base import Job
from twingraph_nb.executors.docker import DockerExecutor
from twingraph_nb.executors.owner import OWNER
from twingraph_nb.settings import Settings


@pytest.fixture(scope="module")
def client(docker_host: str) -> Iterator[Any]:
    made = docker.DockerClient(base_url=docker_host)
    yield made
    made.close()


class Using:
    """An executor on the tests' engine, and what its containers are."""

    def __init__(self, made: DockerExecutor, client: Any, image: str) -> None:
        self.made, self.client, self.image = made, client, image

    async def run(
        self, function: Callable[..., object], *args: object, **options: object
    ) -> tuple[Any, Memory]:
        report = Memory()
        outcome = await self.made.run(self.job(function, *args, **options), report)
        if outcome.error is not None:
            raise outcome.error
        return outcome.value, report

    def job(self, function: Callable[..., object], *args: object, **options: object) -> Job:
        options = {"image": self.image, **options}
        made = make_component(function, platform="docker", options=options, keep=False)
        return Job(secrets.token_hex(12), made.name, made, made.bind(args, {}), 1)

    def containers(self) -> list[Any]:
        mine = f".{os.getpid()}."
        found = self.client.containers.list(all=True, filters={"label": OWNER}, ignore_removed=True)
        return [one for one in found if mine in one.labels[OWNER]]


@contextlib.asynccontextmanager
async def executor(client: Any, image: str, workers: int = 1) -> AsyncIterator[Using]:
    made = DockerExecutor(replace(Settings.load(), processes=workers))
    await made.open()
    using = Using(made, client, image)
    try:
        yield using
    finally:
        await made.close()
        assert using.containers() == []


@pytest.fixture(autouse=True)
def engine(docker_host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_host)


# -- rights --------------------------------------------------------------------------------------


def rights() -> dict[str, object]:
    status = dict(
        line.split(":\t", 1)
        for line in Path("/proc/self/status").read_text().splitlines()
        if ":\t" in line
    )
    try:
        open("/written", "w").close()
        root = "writable"
    except OSError as exc:
        root = type(exc).__name__ + str(exc.errno)
    open("/tmp/written", "w").close()
    return {
        "uid": os.getuid(),
        "capabilities": int(status["CapEff"], 16) | int(status["CapBnd"], 16),
        "no new privileges": status["NoNewPrivs"],
        "root": root,
        "networks": sorted(os.listdir("/sys/class/net")),
    }


async def test_a_container_has_the_least_rights(client: Any, python_image: str) -> None:
    async with executor(client, python_image) as using:
        found, _ = await using.run(rights)
        host = using.containers()[0].attrs["HostConfig"]
    assert found == {
        "uid": 65534,
        "capabilities": 0,
        "no new privileges": "1",
        "root": "OSError30",
        "networks": ["lo"],
    }
    assert host["PidsLimit"] == 512
    assert host["Privileged"] is False


async def test_a_component_gets_the_rights_it_asks_for(client: Any, python_image: str) -> None:
    async with executor(client, python_image) as using:
        found, _ = await using.run(rights, writable=True, network="bridge", user="0:0")
    assert found["uid"] == 0
    assert found["root"] == "writable"
    assert found["networks"] == ["eth0", "lo"]


async def test_a_fork_bomb_ends_at_the_limit_of_processes(client: Any, python_image: str) -> None:
    def forks() -> str:
        import threading
        import time

        try:
            for _ in range(100):
                threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
        except RuntimeError as exc:
            return str(exc)
        return "no limit"

    async with executor(client, python_image) as using:
        assert "can't start new thread" in (await using.run(forks, pids=20))[0]


# -- containers ----------------------------------------------------------------------------------


def where() -> str:
    with open("/proc/sys/kernel/hostname") as file:
        return file.read().strip()


async def test_containers_stay_for_the_next_task_of_equal_setup(
    client: Any, python_image: str
) -> None:
    async with executor(client, python_image) as using:
        first, _ = await using.run(where)
        again, report = await using.run(where)
        other, _ = await using.run(where, memory="64m")
    assert first == again
    assert report.workers == [f"container {first}"]
    assert other != first


async def test_a_fresh_container_is_for_one_task_only(client: Any, python_image: str) -> None:
    async with executor(client, python_image) as using:
        first, _ = await using.run(where, fresh=True)
        second, _ = await using.run(where, fresh=True)
    assert first != second


async def test_a_container_that_idles_is_ended(client: Any, python_image: str) -> None:
    import asyncio

    async with executor(client, python_image) as using:
        await using.run(where, idle="0.2s")
        while using.containers():
            await asyncio.sleep(0.1)
        assert (await using.run(where, idle="0.2s"))[0]


async def test_files_and_volumes_are_there(client: Any, python_image: str, tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text("weights")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)

    def uses() -> str:
        with open("/models/small/model.txt") as file:
            text = file.read()
        with open("/shared/out.txt", "w") as out:
            out.write(text.upper())
        return text

    async with executor(client, python_image) as using:
        found, _ = await using.run(
            uses,
            files={"/models/small/model.txt": str(tmp_path / "model.txt")},
            volumes={str(tmp_path / "shared"): "/shared"},
        )
    assert found == "weights"
    assert (tmp_path / "shared/out.txt").read_text() == "WEIGHTS"


async def test_the_image_may_have_its_own_entrypoint_and_user(
    client: Any, python_image: str, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(
        f'FROM {python_image}\nENV HELLO=there\nUSER 1234\nENTRYPOINT ["python3", "-c", "oops"]\n'
    )

    def who() -> tuple[int, str]:
        return os.getuid(), os.environ["HELLO"]

    async with executor(client, python_image) as using:
        assert (await using.run(who, build=str(tmp_path)))[0] == (1234, "there")


async def test_what_a_kernel_that_was_killed_left_behind_is_removed(
    client: Any, python_image: str, tmp_path: Path
) -> None:
    code = f"""
        import time
        from twingraph_nb import component

        @component(platform="docker", image={python_image!r})
        def step():
            time.sleep(600)

        step()
        time.sleep(600)
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(code))
    kernel = subprocess.Popen([sys.executable, str(tmp_path / "script.py")])
    mark = f".{kernel.pid}."

    def left() -> list[Any]:
        found = client.containers.list(all=True, filters={"label": OWNER}, ignore_removed=True)
        return [one for one in found if mark in one.labels[OWNER]]

    while not any(one.status == "running" for one in left()):
        assert kernel.poll() is None
    kernel.send_signal(signal.SIGKILL)
    kernel.wait()
    assert left()
    async with executor(client, python_image) as using:
        await using.run(where)
    assert left() == []


# -- images --------------------------------------------------------------------------------------


async def test_an_image_is_built_once_for_each_content(
    client: Any, python_image: str, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {python_image}\nCOPY note.txt /note.txt\n")
    note = tmp_path / "note.txt"
    note.write_text(f"one {os.getpid()}")

    def read() -> str:
        with open("/note.txt") as file:
            return file.read()

    async with executor(client, python_image) as using:
        first, report = await using.run(read, build=str(tmp_path))
        assert "building image" in report.text("system")
        assert "COPY note.txt" in report.text("system")
    async with executor(client, python_image) as using:
        again, report = await using.run(read, build=str(tmp_path))
        assert report.text("system") == ""
        note.write_text(f"two {os.getpid()}")
    async with executor(client, python_image) as using:
        other, report = await using.run(read, build=str(tmp_path))
        assert "building image" in report.text("system")
    assert (first, again, other) == (
        f"one {os.getpid()}",
        f"one {os.getpid()}",
        f"two {os.getpid()}",
    )


async def test_a_build_that_fails_says_why(client: Any, python_image: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f'FROM {python_image}\nRUN ["python3", "-c", "boom"]\n')
    async with executor(client, python_image) as using:
        with pytest.raises(ExecutorError, match=r"cannot be built: .*non-zero code"):
            await using.run(where, build=str(tmp_path))


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        (
            {"image": "nowhere/at-all:1", "pull": "never"},
            ExecutorError,
            r"image 'nowhere/at-all:1' is not on the Docker engine, and pull='never' says",
        ),
        (
            {"image": "127.0.0.1:9/refused:1"},
            ExecutorError,
            r"image '127.0.0.1:9/refused:1'.*(refused|dial)",
        ),
        (
            {"host": "unix:///nowhere/docker.sock"},
            Unreachable,
            r"platform 'docker' cannot be reached at unix:///nowhere/docker.sock: "
            r"no engine listens there. Start Docker, or say where",
        ),
        (
            {"files": {"/x/y": "/no/such/file"}},
            PortabilityError,
            r"files= takes '/no/such/file' along, which is not there",
        ),
        ({"build": "./no/such/folder"}, Exception, r"no such Dockerfile or folder"),
        ({"user": "nobody-of-that-name"}, ExecutorError, r"nobody-of-that-name"),
        ({"network": "no-such-network"}, ExecutorError, r"no-such-network"),
    ],
)
async def test_what_cannot_work_is_said(
    client: Any, python_image: str, options: dict[str, Any], kind: type[Exception], said: str
) -> None:
    async with executor(client, python_image) as using:
        with pytest.raises(kind, match=said):
            await using.run(where, **options)


async def test_an_image_without_python_is_named(client: Any, python_image: str) -> None:
    name = f"twingraph-tests/empty:{os.getpid()}"
    client.images.build(fileobj=__import__("io").BytesIO(b"FROM scratch\nLABEL a=b\n"), tag=name)
    try:
        async with executor(client, python_image) as using:
            with pytest.raises(ExecutorError, match=r"has no python3 on its PATH"):
                await using.run(where, image=name)
    finally:
        client.images.remove(name)


async def test_no_network_is_hinted_at(client: Any, python_image: str) -> None:
    def fetch() -> None:
        import urllib.request

        urllib.request.urlopen("http://somewhere.invalid/")

    async with executor(client, python_image) as using:
        with pytest.raises(OSError, match="resolution") as caught:
            await using.run(fetch)
    assert any("network='bridge'" in note for note in caught.value.__notes__)


async def test_a_package_that_is_missing_there_is_named_with_its_cure(
    client: Any, python_image: str
) -> None:
    def needs() -> None:
        import pandas  # noqa: F401

    async with executor(client, python_image) as using:
        with pytest.raises(ModuleNotFoundError, match="pandas") as caught:
            await using.run(needs)
    assert any("build=['pandas']" in note for note in caught.value.__notes__)


async def test_the_engine_is_asked_for_its_version(client: Any, docker_host: str) -> None:
    said = await DockerExecutor(Settings.load()).probe()
    assert client.version()["Version"] in said
