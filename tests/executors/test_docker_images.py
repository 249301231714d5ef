"""Images of platform `docker`: pulled and built with progress, once, anew, and not in vain."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import textwrap
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.executors.docker_running import executor, where
from tests.executors.running import Memory, until
from tests.executors.test_environments import made_wheel
from tests.services.images import python_image as image_with
from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors import docker_images, docker_unused
from twingraph_nb.runs.cli import main

pytestmark = pytest.mark.usefixtures("docker_engine")

_TYPES = "application/vnd.docker"


class Registry:
    """A registry of one image, which has one file, for the engine to pull from.

    manifest: what the image is. blobs: its parts by digest. asked: how often the manifest was.
    """

    def __init__(self) -> None:
        layer = _layer({"etc/who": os.urandom(16)})
        config = json.dumps(
            {
                "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            }
        ).encode()
        packed = gzip.compress(layer)
        self.blobs = {_digest(one): one for one in (config, packed)}
        parts = [("container.image.v1+json", config), ("image.rootfs.diff.tar.gzip", packed)]
        about = [
            {"mediaType": f"{_TYPES}.{kind}", "size": len(one), "digest": _digest(one)}
            for kind, one in parts
        ]
        self.kind = f"{_TYPES}.distribution.manifest.v2+json"
        said = {"schemaVersion": 2, "mediaType": self.kind, "config": about[0], "layers": about[1:]}
        self.manifest = json.dumps(said).encode()
        self.asked = 0


def _layer(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def registry() -> Iterator[tuple[str, Registry]]:
    """The name of an image that can be pulled, and the registry it comes from."""
    held = Registry()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            what, _, name = self.path.removeprefix("/v2/").rpartition("/")
            data, kind = held.blobs.get(name, b"{}"), "application/octet-stream"
            if what.endswith("/manifests"):
                data, kind = held.manifest, held.kind
                held.asked += self.command == "GET"
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Docker-Content-Digest", _digest(data))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}/tests/small", held
    server.shutdown()
    thread.join()
    server.server_close()


async def test_an_image_is_pulled_once_with_progress_and_again_where_asked(
    client: Any, python_image: str, registry: tuple[str, Registry]
) -> None:
    image, held = registry

    async def told(using: Any, **options: object) -> str:
        report = Memory()
        with pytest.raises(ExecutorError, match="has no python3"):  # it is there, and has one file
            await using.made.run(using.job(where, image=image, **options), report)
        return report.text("system")

    try:
        async with executor(client, python_image) as using:
            first, second = await asyncio.gather(told(using), told(using))
            assert (first + second).count(f"pulling image {image}\n") == 1
            assert "Pull complete" in first + second
            asked = held.asked
            assert await told(using) == ""
            assert held.asked == asked > 0
            again = await told(using, pull="always")
            assert f"pulling image {image}\n" in again
            assert "Image is up to date" in again
    finally:
        client.images.remove(f"{image}:latest", force=True)


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
        assert first == again == f"one {os.getpid()}"
        note.write_text(f"two {os.getpid()}")  # while the session goes on
        while again == first:
            again, report = await using.run(read, build=str(tmp_path))
        assert again == f"two {os.getpid()}"
        assert "building image" in report.text("system")


async def test_packages_are_put_onto_an_image(client: Any, tmp_path: Path) -> None:
    wheel = made_wheel(tmp_path)
    base = f"FROM {image_with(site=['pip'])}\nCOPY {wheel.name} /wheels/\n"
    base += "ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels PIP_ROOT_USER_ACTION=ignore\n"
    (tmp_path / "Dockerfile").write_text(base)
    image = f"twingraph-tests/pip:{os.getpid()}"
    client.images.build(path=str(tmp_path), tag=image, rm=True)

    def size() -> tuple[int, int]:
        import tiny  # type: ignore[import-not-found]

        return int(tiny.SIZE), os.getuid()

    try:
        async with executor(client, image) as using:
            found, report = await using.run(size, build="tiny>=1.2,<2")
            assert found == (7, 65534)
            assert "Successfully installed tiny-1.5" in report.text("system")
    finally:
        client.images.remove(image, force=True)


async def test_a_build_that_fails_says_why(client: Any, python_image: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f'FROM {python_image}\nRUN ["python3", "-c", "boom"]\n')
    async with executor(client, python_image) as using:
        with pytest.raises(ExecutorError, match=r"cannot be built: .*non-zero code"):
            await using.run(where, build=str(tmp_path))


async def test_one_that_was_removed_is_made_again(
    client: Any, python_image: str, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {python_image}\nLABEL of={os.getpid()}\n")
    options = {"build": str(tmp_path), "fresh": True}
    async with executor(client, python_image) as using:
        _, report = await using.run(where, **options)
        (tag,) = [word for word in report.text("system").split() if "twingraph/build:" in word][:1]
        await until(lambda: not using.containers())
        client.images.remove(tag, force=True)
        with pytest.raises(ExecutorError, match=f"no image '{tag}' on the Docker engine any more"):
            await using.run(where, **options)
        assert "building image" in (await using.run(where, **options))[1].text("system")


async def test_gc_removes_images_that_were_built_and_are_not_used(
    client: Any,
    python_image: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = f"twingraph-tests/built-{os.getpid()}"  # others build on this engine too
    monkeypatch.setattr(docker_images, "BUILT", name)
    monkeypatch.setattr(docker_unused, "BUILT", name)
    monkeypatch.setenv("TWINGRAPH_HOME", str(tmp_path / "home"))
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"FROM {python_image}\nLABEL gc={os.getpid()}\n")

    def said(*words: str) -> list[str]:
        assert main(["gc", "--images", *words]) == 0
        return capsys.readouterr().out.splitlines()[1:]

    def last_used() -> str:
        return str(client.api.inspect_image(tag)["Metadata"]["LastTagTime"])

    async with executor(client, python_image) as using:
        await using.run(where, build=str(folder))
        (tag,) = client.images.list(name)[0].tags
        before = last_used()
        assert said("--older-than", "1ms") == ["removed 0 unused Docker images"]
    async with executor(client, python_image) as using:
        await using.run(where, build=str(folder))
    assert last_used() > before
    assert said("--older-than", "1h") == ["removed 0 unused Docker images"]
    would = said("--older-than", "1ms", "--dry-run")
    assert len(would) == 2
    assert would[0].startswith(f"would remove {tag}: ")
    assert client.images.list(name)
    gone = said("--older-than", "1ms")
    assert gone == [line.replace("would remove", "removed") for line in would]
    assert gone[1] == "removed 1 unused Docker image"
    assert client.images.list(name) == []


def building(client: Any, mark: str) -> list[Any]:
    """The containers of builds that have a word in their command."""
    return [one for one in client.api.containers(filters={}) if mark in one["Command"]]


async def test_a_build_that_nobody_waits_for_is_ended(
    client: Any, python_image: str, tmp_path: Path
) -> None:
    mark = f"mark{os.getpid()}"
    says = f"import time\nwhile '{mark}': print(1, flush=True); time.sleep(0.05)"
    step = json.dumps(["python3", "-c", says])
    (tmp_path / "Dockerfile").write_text(f"FROM {python_image}\nRUN {step}\n")
    async with executor(client, python_image) as using:
        job, report = using.job(where, build=str(tmp_path)), Memory()
        running = [asyncio.create_task(using.made.run(job, report)) for _ in range(2)]
        await until(lambda: building(client, mark))
        running[0].cancel()
        await asyncio.wait(running[:1])
        assert building(client, mark)  # the other one waits
        running[1].cancel()
        await asyncio.wait(running)
        await until(lambda: not building(client, mark))


async def test_a_build_holds_no_process_up_that_wants_to_end(
    client: Any, python_image: str, tmp_path: Path
) -> None:
    mark = f"silent{os.getpid()}"
    step = json.dumps(["python3", "-c", f"import time; '{mark}'; time.sleep(3600)"])
    (tmp_path / "Dockerfile").write_text(f"FROM {python_image}\nRUN {step}\n")
    code = f"""
        import sys
        import twingraph_nb
        from twingraph_nb.session import close_session

        @twingraph_nb.component(platform="docker", build={str(tmp_path)!r})
        def step():
            return 1

        task = step()
        sys.stdin.read()
        close_session()
    """
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code))
    process = subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE)
    await until(lambda: building(client, mark) or process.poll() is not None)
    assert process.stdin is not None
    process.stdin.close()
    await asyncio.to_thread(process.wait, 120)
    await until(lambda: not building(client, mark))
