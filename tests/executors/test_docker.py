"""Platform `docker` beyond what all platforms promise: rights, files, what cannot work."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.executors.docker_running import executor, where
from twingraph_nb.errors import ExecutorError, PortabilityError, Unreachable
from twingraph_nb.executors.docker import DockerExecutor
from twingraph_nb.executors.docker_setup import Setup
from twingraph_nb.platforms import read_platform_option
from twingraph_nb.settings import Settings

pytestmark = pytest.mark.usefixtures("docker_engine")

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
    more = {"memory": "96m", "cpus": 0.5, "pids": 99}
    async with executor(client, python_image) as using:
        found, _ = await using.run(rights, writable=True, network="bridge", user="0:0", **more)
        (one,) = using.containers()
    host = one.attrs["HostConfig"]
    limits = [host[name] for name in ("Memory", "MemorySwap", "NanoCpus", "PidsLimit")]
    assert limits == [96 * 2**20, 96 * 2**20, 500_000_000, 99]
    assert one.labels["twingraph.component"] == "rights"
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


@pytest.mark.parametrize(
    ("gpus", "count", "ids"),
    [(1, 1, []), ("2", 2, []), (True, -1, []), ("all", -1, []), ("0,GPU-1", 0, ["0", "GPU-1"])],
)
def test_gpus_are_asked_for_by_number_or_name(gpus: object, count: int, ids: list[str]) -> None:
    read = read_platform_option("docker", "gpus", gpus)
    assert Setup("image", gpus=read).device_requests() == [  # type: ignore[arg-type]
        {"Driver": "", "Count": count, "DeviceIDs": ids, "Capabilities": [["gpu"]]}
    ]
    for none in (0, "0", False, "no"):
        asked = read_platform_option("docker", "gpus", none)
        assert Setup("image", gpus=asked).device_requests() is None  # type: ignore[arg-type]


# -- containers ----------------------------------------------------------------------------------


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


async def test_files_and_volumes_are_there(
    client: Any, python_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.txt").write_text("weights")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)

    def uses() -> str:
        with open("/models/small/model.txt") as file:
            text = file.read()
        with open("/shared/out.txt", "w") as out:
            out.write(text.upper())
        return text

    monkeypatch.chdir(tmp_path)
    options = {
        "files": {"/models/small/model.txt": "model.txt"},
        "volumes": {"./shared": "/shared"},
    }
    async with executor(client, python_image) as using:
        assert (await using.run(uses, **options))[0] == "weights"
        assert (tmp_path / "shared/out.txt").read_text() == "WEIGHTS"
        (tmp_path / "model.txt").write_text("new")  # for the next container, not one that is warm
        while (await using.run(uses, **options))[0] != "new":
            pass
        (tmp_path / "shared").chmod(0o755)
        (tmp_path / "shared/out.txt").unlink()
        with pytest.raises(PermissionError) as caught:
            await using.run(uses, **options)
        assert "not root in its container" in caught.value.__notes__[0]
        with pytest.raises(OSError, match="Read-only") as unwritable:
            await using.run(uses, files=options["files"], volumes={"./shared": "/shared:ro"})
        assert "writable=True" in unwritable.value.__notes__[0]


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


# -- what cannot work ------------------------------------------------------------------------------


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
            r"image '127.0.0.1:9/refused:1' cannot be pulled: .*refused.*take one that is there",
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
        ({"user": "no-such-user"}, ExecutorError, r"could not be started: .*no-such-user"),
        ({"network": "no-such-network"}, ExecutorError, r"not be started: .*no-such-network"),
        (
            {"gpus": 1},
            ExecutorError,
            r"no GPUs: install the NVIDIA Container Toolkit, or drop gpus=",
        ),
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


# -- who may -------------------------------------------------------------------------------------

ASKING = """
from twingraph_nb import component

@component(platform="docker", image="none")
def one():
    return 1

try:
    one().result(120)
except Exception as exc:
    print(type(exc).__name__, exc)
"""
LIKE_OTHERS = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
"""Root, to which files are closed as they are to others."""


@pytest.mark.parametrize("closed", ["socket", "folder"])
def test_who_may_not_use_the_engine_is_told_how_to_be_allowed(tmp_path: Path, closed: str) -> None:
    script, folder = tmp_path / "asking.py", tmp_path / "engine"
    folder.mkdir()
    path = folder / "docker.sock"
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(path))
        engine.listen()
        (path if closed == "socket" else folder).chmod(0)
        script.write_text(ASKING)
        words = [sys.executable, str(script)]
        if os.geteuid() == 0:
            words = [*LIKE_OTHERS, *words]
        environ = {**os.environ, "DOCKER_HOST": f"unix://{path}", "TWINGRAPH_HOME": str(tmp_path)}
        done = subprocess.run(words, env=environ, capture_output=True, text=True, check=True)
        folder.chmod(0o700)
    assert done.stdout.strip() == (
        f"Unreachable platform 'docker' cannot be reached at unix://{path}: permission denied. "
        "Let this user use it: sudo usermod -aG docker $USER, then log in again; or take an "
        "engine of your own (rootless Docker) with host= or DOCKER_HOST"
    )
