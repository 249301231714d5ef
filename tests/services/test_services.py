"""The services of the tests are real, shared, replaced when they die, and gone at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import pytest

from tests.services import base, processes
from tests.services.redis import ask

START = """
import json, pathlib, sys
from tests.services import base
base.FOLDER = pathlib.Path(sys.argv[1])
base.ensure(sys.argv[2])
print(json.dumps(base.state(sys.argv[2]).processes))
"""
NESTED = """
import pathlib
from tests.services import base
base.FOLDER = pathlib.Path({folder!r})

def test_asks(redis_url):
    pathlib.Path({said!r}).write_text(redis_url)
    {then}
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Services of this test alone, as those of another checkout."""
    monkeypatch.setattr(base, "FOLDER", tmp_path)
    yield tmp_path
    for name in reversed(base.SERVICES):
        if (tmp_path / name).exists():
            base.stop(name)
            assert processes.marked(tmp_path / name) == []


def ran(host: str, image: str, *command: str, **options: object) -> str:
    """What a container prints; it is removed."""
    client = docker.DockerClient(base_url=host)
    try:
        said: bytes = client.containers.run(image, list(command), remove=True, **options)
        return said.decode()
    finally:
        client.close()


def alone(*words: str) -> str:
    """What a process of its own prints that asks for a service."""
    command = [sys.executable, "-c", START, *words]
    done = subprocess.run(command, cwd=base.ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def nested(folder: Path, then: str, alive: Callable[[], None]) -> str:
    """The address that a pytest session of its own used; `alive` is called while it is up."""
    said, body = folder / "said", folder / "test_nested.py"
    body.write_text(NESTED.format(folder=str(folder / "services"), said=str(said), then=then))
    environment = {key: value for key, value in os.environ.items() if key != base.SESSION}
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--confcutdir={base.ROOT}",
        "-p", "tests.conftest", f"--rootdir={base.ROOT}", "-c", str(base.ROOT / "pyproject.toml"),
        str(body),
    ]  # fmt: skip
    subprocess.run(command, cwd=base.ROOT, env=environment, check=False, capture_output=True)
    alive()
    return said.read_text()


def test_engine_runs_python_as_nobody_on_a_read_only_root(
    docker_host: str, python_image: str
) -> None:
    code = """if 1:
        import json, os, tempfile
        try:
            open('/usr/local/lib/written', 'w')
        except OSError as exc:
            refused = exc.strerror
        print(json.dumps([os.getuid(), refused, tempfile.gettempdir()]))"""
    said = ran(
        docker_host, python_image, "python", "-c", code,
        user="nobody", read_only=True, tmpfs={"/tmp": ""}, cap_drop=["ALL"], network_mode="none",
    )  # fmt: skip
    assert json.loads(said) == [65534, "Read-only file system", "/tmp"]


def test_image_starts_from_bytecode(docker_host: str, python_image: str) -> None:
    code = "import asyncio, os.path; print(os.path.exists(asyncio.__cached__))"
    assert ran(docker_host, python_image, "python", "-c", code) == "True\n"


def test_image_has_the_packages_and_programs_that_were_asked_for(
    docker_host: str, data_image: str
) -> None:
    from tests.services import images

    code = "import pandas; print(pandas.Series([1, 2]).sum())"
    assert ran(docker_host, data_image, "python", "-c", code, user="nobody") == "3\n"
    with_bash = images.python_image(bins=["bash"])
    assert ran(docker_host, with_bash, "bash", "-c", "echo ${BASH_VERSION:+yes}") == "yes\n"


def test_image_is_named_by_its_content(python_image: str, data_image: str, tmp_path: Path) -> None:
    from tests.services import images

    package = tmp_path / "added"
    package.mkdir()
    (package / "__init__.py").write_text("ANSWER = 42\n")
    first = images.python_image(site=[package])
    (package / "__init__.py").write_text("ANSWER = 4242\n")
    second = images.python_image(site=[package])
    assert len({python_image, data_image, first, second}) == 4
    code = "import added; print(added.ANSWER)"
    assert ran(base.ensure("docker")["host"], second, "python", "-c", code) == "4242\n"
    assert images.python_image() == python_image


def test_unknown_program_and_package_are_named() -> None:
    from tests.services import images

    with pytest.raises(LookupError, match="no program 'nothing-like-it'"):
        images.python_image(bins=["nothing-like-it"])
    with pytest.raises(LookupError, match="nothing-like-it"):
        images.python_image(site=["nothing-like-it"])


def test_containers_reach_this_machine_and_each_other(docker_host: str, python_image: str) -> None:
    client = docker.DockerClient(base_url=docker_host)
    network = client.networks.create("tests-services")
    # Listens before it says so.
    code = """if 1:
        import socket
        with socket.create_server(("", 8000)) as server:
            print("listens", flush=True)
            server.accept()[0].sendall(b"hello")"""
    server = client.containers.run(
        python_image, ["python", "-c", code], network=network.name, name="told", detach=True
    )
    try:
        assert next(server.logs(stream=True)) == b"listens\n"
        asks = "import socket; print(socket.create_connection(('told', 8000), 10).recv(9).decode())"
        said = ran(docker_host, python_image, "python", "-c", asks, network=network.name)
        assert said == "hello\n"
    finally:
        server.remove(force=True)
        network.remove()
        client.close()


def test_redis_answers_only_with_its_password(redis_url: str) -> None:
    address = base.ensure("redis")
    assert redis_url == address["url"]
    port = int(address["port"])
    assert ask(port, f"AUTH {address['password']}", "PING") == ["+OK", "+PONG"]
    assert ask(port, "PING") == ["-NOAUTH Authentication required."]


def test_processes_that_ask_at_once_get_one_engine(elsewhere: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        said = list(pool.map(lambda _: alone(str(elsewhere), "docker"), range(3)))
    assert len(set(said)) == 1
    known = base.state("docker")
    assert known is not None
    assert json.loads(said[0]) == known.processes
    assert base.healthy(known)


def test_killed_engine_is_replaced_and_what_it_ran_is_gone(elsewhere: Path) -> None:
    from tests.services import images

    address = base.ensure("docker")
    client = docker.APIClient(base_url=address["host"])
    image = images.python_image()
    made = client.create_container(image, ["sleep", "1000"])
    client.start(made)
    inside = processes.identity(client.inspect_container(made)["State"]["Pid"])
    client.close()
    before = base.state("docker")
    assert before is not None
    for each in before.processes.values():
        os.kill(int(each.partition(":")[0]), signal.SIGKILL)
    for each in before.processes.values():
        processes.wait_for_end(each)
    assert processes.alive(inside)

    again = base.ensure("docker")

    after = base.state("docker")
    assert after is not None
    assert not set(after.processes.values()) & set(before.processes.values())
    assert not processes.alive(inside)
    assert ran(again["host"], images.python_image(), "echo", "here") == "here\n"


def test_data_that_is_half_written_is_replaced(elsewhere: Path) -> None:
    from tests.services import images

    base.ensure("docker")
    image = images.python_image()
    base.stop("docker")
    layers = next(iter((elsewhere / "docker" / "data" / "image").glob("*/layerdb")))
    kept = elsewhere / "docker" / "data"
    subprocess.run(["rm", "-rf", *(kept / layers.parts[-2]).glob("*")], check=True)
    host = base.ensure("docker")["host"]
    assert images.python_image() == image
    assert ran(host, image, "echo", "whole") == "whole\n"


def test_stopped_engine_leaves_no_trace(elsewhere: Path) -> None:
    from tests.services.docker import NAME

    base.ensure("docker")
    place = base.Place("docker", elsewhere / "docker")
    bridge = Path("/sys/class/net", NAME.format(place.number))
    assert bridge.exists()
    base.stop("docker")
    assert base.state("docker") is None
    assert not bridge.exists()
    assert not place.run.exists()
    assert str(elsewhere) not in Path("/proc/self/mounts").read_text()
    rules = subprocess.run(
        [str(processes.program("iptables")), "--wait", "-S"], capture_output=True, check=True
    ).stdout
    assert bridge.name.encode() not in rules


def test_session_stops_what_it_started(tmp_path: Path) -> None:
    url = nested(tmp_path, "", lambda: None)
    assert url.startswith("redis://")
    assert processes.marked(tmp_path / "services" / "redis") == []


def test_session_leaves_what_was_up_before(elsewhere: Path) -> None:
    (elsewhere / "services").mkdir()
    base.FOLDER = elsewhere / "services"
    try:
        before = base.ensure("redis")
        assert nested(elsewhere, "", lambda: None) == before["url"]
        assert base.ensure("redis") == before
    finally:
        base.stop("redis")
        base.FOLDER = elsewhere


def test_service_of_a_killed_session_ends(tmp_path: Path) -> None:
    folder = tmp_path / "services" / "redis"
    nested(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", lambda: None)
    known = json.loads((folder / "state.json").read_text()) if folder.exists() else None
    if known is not None:
        for each in known["processes"].values():
            processes.wait_for_end(each)
    assert processes.marked(folder) == []


def test_what_is_not_installed_is_named_with_its_package(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(elsewhere))
    monkeypatch.setattr(processes, "ADMIN", "")
    with pytest.raises(base.ServiceMissing, match="needs redis-server.*apt-get install redis"):
        base.ensure("redis")
