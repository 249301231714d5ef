"""The services of the tests are real, shared, replaced when they die, and gone at the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import pytest

from tests.services import base, processes
from tests.services.__main__ import main
from tests.services.redis import ask

START = """
import json, pathlib, sys
from tests.services import base
base.FOLDER = pathlib.Path(sys.argv[1])
base.ensure(sys.argv[2])
print(json.dumps(base.state(sys.argv[2]).processes))
"""
NESTED = """
import json, pathlib
from tests.services import base
base.FOLDER = pathlib.Path({folder!r})

def test_asks(redis_url):
    said = [redis_url, *base.state("redis").processes.values()]
    pathlib.Path({said!r}).write_text(json.dumps(said))
    {then}
"""
DIE = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Services of this test alone, as those of another checkout."""
    folder = tmp_path / "services"
    monkeypatch.setattr(base, "FOLDER", folder)
    yield folder
    for name in reversed(base.SERVICES):
        if (folder / name).exists():
            base.stop(name)
            assert processes.marked(folder / name) == []


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


def nested(folder: Path, then: str = "") -> tuple[str, str]:
    """The address and the process of the Redis that a pytest session of its own has used."""
    said, body = folder.parent / "said", folder.parent / "test_nested.py"
    body.write_text(NESTED.format(folder=str(folder), said=str(said), then=then))
    environment = {key: value for key, value in os.environ.items() if key != base.SESSION}
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.conftest",
        f"--rootdir={base.ROOT}", "-c", str(base.ROOT / "pyproject.toml"), str(body),
    ]  # fmt: skip
    subprocess.run(command, cwd=base.ROOT, env=environment, check=False, capture_output=True)
    url, process = json.loads(said.read_text())
    return url, process


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


def test_containers_of_a_network_know_each_other_by_name(
    docker_host: str, python_image: str
) -> None:
    code = """if 1:
        import socket
        with socket.create_server(("", 8000)) as server:
            print("listens", flush=True)
            server.accept()[0].sendall(b"hello")"""
    asks = "import socket; print(socket.create_connection(('told', 8000), 10).recv(9).decode())"
    client = docker.DockerClient(base_url=docker_host)
    network = client.networks.create(f"tests-{uuid.uuid4().hex}")
    server = client.containers.create(python_image, ["python", "-c", code])
    try:
        network.connect(server, aliases=["told"])
        server.start()
        lines = server.logs(stream=True, follow=True)
        assert next(lines) == b"listens\n"
        said = ran(docker_host, python_image, "python", "-c", asks, network=network.name)
        assert said == "hello\n"
        assert list(lines) == []  # to the end, else its connection stays open
    finally:
        server.remove(force=True)
        network.remove()
        client.close()


def test_container_reaches_this_machine(docker_host: str, python_image: str) -> None:
    gateway = base.ensure("docker")["gateway"]
    with socket.create_server((gateway, 0)) as here, ThreadPoolExecutor(1) as pool:
        port = here.getsockname()[1]
        code = f"import socket; socket.create_connection(('machine', {port}), 10).sendall(b'hello')"
        done = pool.submit(
            ran, docker_host, python_image, "python", "-c", code,
            extra_hosts={"machine": "host-gateway"},
        )  # fmt: skip
        here.settimeout(20)
        wire, _ = here.accept()
        with wire:
            assert wire.recv(9) == b"hello"
        assert done.result() == ""


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


def layers_gone(data: Path) -> None:
    for layer in data.glob("overlay2/*/diff/etc"):
        shutil.rmtree(layer)


def no_start(data: Path) -> None:
    shutil.rmtree(data / "image")
    (data / "image").write_text("not a folder")


@pytest.mark.parametrize("damage", [layers_gone, no_start])
def test_kept_data_that_is_damaged_is_replaced(
    elsewhere: Path, damage: Callable[[Path], None]
) -> None:
    from tests.services import images

    base.ensure("docker")
    image = images.python_image()
    base.stop("docker")
    damage(elsewhere / "docker" / "data")
    host = base.ensure("docker")["host"]
    assert images.python_image() == image
    assert "nobody" in ran(host, image, "cat", "/etc/passwd")


def test_images_are_kept_when_the_engine_stops(elsewhere: Path) -> None:
    from tests.services import images

    base.ensure("docker")
    image = images.python_image()
    base.stop("docker")
    assert "nobody" in ran(base.ensure("docker")["host"], image, "cat", "/etc/passwd")


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


def test_session_stops_what_it_started(elsewhere: Path) -> None:
    url, process = nested(elsewhere)
    assert url.startswith("redis://")
    assert not processes.alive(process)
    assert base.state("redis") is None


def test_session_leaves_what_was_up_before(elsewhere: Path) -> None:
    before = base.ensure("redis")
    url, process = nested(elsewhere)
    assert url == before["url"]
    assert processes.alive(process)
    assert base.ensure("redis") == before


def test_service_of_a_killed_session_ends(elsewhere: Path) -> None:
    _, process = nested(elsewhere, DIE)
    processes.wait_for_end(process)
    with base.locked("redis"):  # the guard holds it until all is gone
        assert base.state("redis") is None


def test_process_that_writes_over_its_environment_is_ended_too(tmp_path: Path) -> None:
    place = base.Place("docker", tmp_path / "of-nobody")
    place.prepare()
    name = place.spawn("renamed", "env", "-i", "sleep", "1000")
    assert [each.pid for each in processes.marked(place.folder)] == [int(name.split(":")[0])]
    processes.sweep(place.folder)
    assert not processes.alive(name)
    place.run.rmdir()


def test_person_starts_and_stops_by_hand(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", "redis"]) == 0
    assert capsys.readouterr().out.startswith("redis: up; users: ")
    known = base.state("redis")
    assert known is not None
    assert main(["down", "redis"]) == 0
    assert not any(map(processes.alive, known.processes.values()))
    assert main(["status", "redis"]) == 0
    assert capsys.readouterr().out == "redis: stopped\n"
    assert main(["up", "nothing-like-it"]) == 2


def test_what_is_not_installed_is_named_with_its_package(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(elsewhere))
    monkeypatch.setattr(processes, "ADMIN", "")
    with pytest.raises(base.ServiceMissing, match=r"needs redis-server.*apt-get install redis"):
        base.ensure("redis")
