"""Large inputs go by digest: stored once, shared, checked on arrival, and removed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import fsspec
import pytest
import pytest_asyncio
from fsspec.implementations.memory import MemoryFileSystem

from tests.executors.aws_running import job, opened, value
from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.docker import DockerExecutor
from twingraph_nb.executors.docker_worker import DockerWorker
from twingraph_nb.executors.payload_stores import FOLDER, FolderStore, Stores, UrlStore
from twingraph_nb.executors.payloads import LARGE, Held, Payloads, Shelf, parts_of
from twingraph_nb.executors.stream_worker import room_of
from twingraph_nb.remote_payloads import ROOM, PayloadError, digest_of
from twingraph_nb.remote_payloads import Payloads as FarSide

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY = os.urandom(LARGE)


class Counted(FolderStore):
    """A folder that remembers what was stored and removed."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.stored: list[str] = []
        self.removed: list[str] = []

    def put(self, digest: str, content: Any) -> None:
        self.stored.append(digest)
        super().put(digest, content)

    def remove(self, digests: Any) -> None:
        self.removed += digests
        super().remove(digests)


def dead_owner() -> str:
    """The label of a kernel that was killed."""
    said = "from twingraph_nb.executors.owner import owner_label as o; print(o())"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def far(held: Held, **more: Any) -> list[Any]:
    """The frames as the far side puts them together."""
    return [bytes(one) for one in FarSide(**more).whole(held.rest, held.parts)]


# -- what is stored ---------------------------------------------------------------------------


async def test_an_input_of_many_jobs_is_stored_once_and_removed_at_the_end(tmp_path: Path) -> None:
    store = Counted(tmp_path)
    payloads = Payloads(store)
    frames = [b"head", BODY, b"small", bytes(reversed(BODY))]
    held = await asyncio.gather(*[payloads.held(frames) for _ in range(20)])
    assert sorted(store.stored) == sorted(map(digest_of, ([frames[1]], [frames[3]])))
    assert all(one.rest == [b"head", b"small"] for one in held)
    assert all(far(one) == frames for one in held)
    for one in held:
        one.release()
    assert len(files(tmp_path)) == 2  # for the next job that needs them
    await payloads.close()
    assert list(tmp_path.iterdir()) == []


async def test_what_no_job_needs_goes_when_there_is_too_much(tmp_path: Path) -> None:
    store = Counted(tmp_path)
    payloads = Payloads(store, most=LARGE)
    bodies = [bytes([n]) * LARGE for n in range(3)]
    held = [await payloads.held([body]) for body in bodies]
    assert len(files(tmp_path)) == 3
    held[0].release()
    assert store.removed == []
    held[1].release()
    again = await payloads.held([bodies[0]])  # waits for what is being removed
    assert store.removed == [digest_of([bodies[0]])]
    assert far(again) == [bodies[0]]
    await payloads.close()


async def test_a_shelf_keeps_what_is_used() -> None:
    shelf = Shelf(most=10)
    for digest, size in (("a", 8), ("b", 8), ("a", 8)):
        shelf.use(digest, size)
    assert shelf.leave(["a", "b"]) == []
    assert shelf.leave(["a"]) == ["b"]
    assert "a" in shelf
    assert "b" not in shelf


async def test_a_job_that_could_not_be_stored_is_no_user(tmp_path: Path) -> None:
    class Full(Counted):
        def put(self, digest: str, content: Any) -> None:
            super().put(digest, content)
            if len(self.stored) == 1:
                raise ExecutorError("full")

    store = Full(tmp_path)
    payloads = Payloads(store, most=0)
    with pytest.raises(ExecutorError, match="full"):
        await payloads.held([BODY])
    held = await payloads.held([BODY])
    assert store.stored == [digest_of([BODY])] * 2
    held.release()
    await payloads.close()


# -- what arrives -------------------------------------------------------------------------------


async def test_each_job_may_write_into_its_own_copy(tmp_path: Path) -> None:
    part = (0, digest_of([BODY]), len(BODY), "")
    there = FarSide()
    there.put(part[1], BODY)
    first = memoryview(there.whole([], [part])[0])
    first[:4] = b"mine"
    assert bytes(there.whole([], [part])[0]) == BODY
    assert bytes(first[:4]) == b"mine"
    there.drop(part[1])
    with pytest.raises(PayloadError, match="was not sent"):
        there.whole([], [part])


async def test_the_far_side_checks_what_it_gets(tmp_path: Path) -> None:
    payloads = Payloads(FolderStore(tmp_path))
    held = await payloads.held([BODY])
    path = next(path for path in tmp_path.rglob("*") if path.is_file())
    path.chmod(0o644)
    path.write_bytes(BODY[:-1] + bytes([BODY[-1] ^ 1]))
    with pytest.raises(PayloadError, match="not what its digest says"):
        far(held)
    path.unlink()
    with pytest.raises(PayloadError, match="is the folder that payloads= names mounted there"):
        far(held)
    await payloads.close()


async def test_what_changed_before_it_was_sent_reaches_no_second_job() -> None:
    part = (0, digest_of([BODY]), len(BODY), "")
    there = FarSide()
    there.put(part[1], b"x" + BODY[1:])
    there.whole([], [part])
    with pytest.raises(PayloadError, match="pass a copy of what you change"):
        there.whole([], [part])


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a" * 63, "A" * 64, ""])
async def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"no")
    (tmp_path / "in").mkdir()
    with pytest.raises(PayloadError, match="no digest"):
        FarSide().whole([], [(0, name, 2, str(tmp_path / "in"))])


# -- whose it is -----------------------------------------------------------------------------


async def test_what_a_killed_kernel_left_is_removed_by_the_next_session(tmp_path: Path) -> None:
    left = tmp_path / FOLDER / dead_owner() / "0123"
    left.mkdir(parents=True)
    (left / "a").write_bytes(b"x")
    other = tmp_path / FOLDER / "another-machine.1.2" / "0123"
    other.mkdir(parents=True)
    old = tmp_path / FOLDER / "another-machine.3.4" / "0123"
    old.mkdir(parents=True)
    for path in (old, old.parent):
        os.utime(path, (0, 0))
    patient = Payloads(FolderStore(tmp_path, spare=3600.0))
    await patient.held([BODY])
    assert left.exists()
    assert not old.parent.exists()
    payloads = Payloads(FolderStore(tmp_path))
    await payloads.held([BODY])
    assert not left.parent.exists()
    assert other.exists()
    for one in (patient, payloads):
        await one.close()
    assert files(tmp_path) == []


# -- what payloads= says ----------------------------------------------------------------------


async def refused(text: str) -> str:
    asked = job("docker", changed, (b"", 1), payloads=text)
    stores = Stores("docker")
    with pytest.raises(ExecutorError) as caught:
        await cast(Payloads, stores.of(asked.component)).held([BODY])
    await stores.close()
    return str(caught.value)


async def test_what_cannot_be_used_is_named_with_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = await refused(str(tmp_path / "nowhere"))
    assert f"the folder '{tmp_path}/nowhere' that payloads= names is not there: create it" in said
    (tmp_path / FOLDER).write_text("in the way")
    assert "it must be a folder that you may write to" in await refused(f"file://{tmp_path}")
    assert "too many parts" in await refused("/a:/b:/c")
    assert "no signed URLs: name a bucket" in await refused("memory://there")
    assert "needs the library of gcs:// for fsspec" in await refused("gcs://bucket")
    assert "payloads='odd://x' cannot be used" in await refused("odd://x")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert "pip install 'twingraph-nb[payloads]'" in await refused("memory://there")


async def test_the_component_overrules_the_setting(tmp_path: Path) -> None:
    stores = Stores("docker", str(tmp_path))
    one, two, off = (
        stores.of(job("docker", changed, (b"", 1), **more).component)
        for more in ({}, {"payloads": f"{tmp_path}:/there"}, {"payloads": "off"})
    )
    assert off is None
    assert one is not None
    assert two is not None
    assert one.store.where("0").startswith(f"{tmp_path}/{FOLDER}/")
    assert two.store.where("0").startswith(f"/there/{FOLDER}/")


# -- a URL that fsspec knows ------------------------------------------------------------------


class Signing(MemoryFileSystem):  # type: ignore[misc]
    """A store in memory that signs URLs, as those of clouds do."""

    protocol = "signing"
    server: ThreadingHTTPServer
    written: list[str] = []
    fetched: list[str] = []

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return super()._strip_protocol(str(path).replace("signing://", "memory://"))

    def sign(self, path: str, expiration: float = 100, **kwargs: Any) -> str:
        return f"http://127.0.0.1:{self.server.server_port}{self._strip_protocol(path)}"

    def pipe_file(self, path: str, value: bytes, **kwargs: Any) -> None:
        self.written.append(path)
        super().pipe_file(path, value, **kwargs)


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        Signing.fetched.append(self.path)
        body = Signing.store[self.path].getvalue()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def signing() -> Iterator[type[Signing]]:
    fsspec.register_implementation("signing", Signing, clobber=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as Signing.server:
        thread = threading.Thread(target=partial(Signing.server.serve_forever, 0.01))
        thread.start()
        yield Signing
        Signing.server.shutdown()
        thread.join()
    Signing.store.clear()
    Signing.written.clear()
    Signing.fetched.clear()


async def test_a_url_is_written_once_and_fetched_once_by_each_far_side(
    signing: type[Signing],
) -> None:
    payloads = Payloads(UrlStore("signing://there/deep"))
    held = [await payloads.held([b"head", BODY]) for _ in range(4)]
    assert len(signing.written) == 1
    there = FarSide()
    for one in held:
        assert [bytes(x) for x in there.whole(one.rest, one.parts)] == [b"head", BODY]
    assert len(signing.fetched) == 1
    assert far(held[0], room=0) == [b"head", BODY]
    await payloads.close()
    assert not signing.store


async def test_an_orphan_behind_a_url_is_removed(signing: type[Signing]) -> None:
    fs = fsspec.filesystem("signing")
    fs.pipe(f"/there/{FOLDER}/{dead_owner()}/0123/a", b"x")
    fs.pipe(f"/there/{FOLDER}/another-machine.1.2/0123/a", b"x")
    store = UrlStore("signing://there")
    store.open()
    assert [path.split("/")[3] for path in signing.store] == ["another-machine.1.2"]


async def test_a_size_that_is_not_announced_is_refused(signing: type[Signing]) -> None:
    payloads = Payloads(UrlStore("signing://there"))
    held = await payloads.held([BODY])
    ((index, digest, size, where),) = held.parts
    for wrong in (size - 1, size + 1):
        with pytest.raises(PayloadError, match="another size"):
            FarSide().whole([], [(index, digest, wrong, where)])
    await payloads.close()


# -- containers -------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DockerExecutor]:
    async with opened(DockerExecutor, tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture
def there(docker_host: str, python_image: str) -> dict[str, object]:
    return {"host": docker_host, "image": python_image, "workers": 1}


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes went to containers."""
    counts: list[int] = []
    write = DockerWorker.write

    def counting(self: DockerWorker, data: Any) -> int:
        counts.append(write(self, data))
        return counts[-1]

    monkeypatch.setattr(DockerWorker, "write", counting)
    return counts


def changed(x: bytearray, number: int) -> tuple[int, bytes]:
    x[0] = number
    return number, bytes(x[:8])


async def test_a_container_gets_the_same_input_once(
    engine: DockerExecutor, there: dict[str, object], written: list[int]
) -> None:
    body = bytearray(os.urandom(4 * LARGE))
    asked = [engine_job(there, body, n) for n in range(1, 9)]
    found = await asyncio.gather(*[value(engine, one) for one in asked])
    assert found == [(n, bytes([n]) + bytes(body[1:8])) for n in range(1, 9)]
    assert 4 * LARGE < sum(written) < 5 * LARGE


def engine_job(there: dict[str, object], *args: object) -> Any:
    return job("docker", changed, args, **there)


async def test_a_container_keeps_no_more_than_it_has_room_for(
    engine: DockerExecutor, there: dict[str, object], written: list[int]
) -> None:
    small = {**there, "memory": "64m", "pids": 99}
    bodies = [bytearray(os.urandom(6 * LARGE)) for _ in range(3)]
    large = bytearray(os.urandom(17 * LARGE))
    for body in (*bodies, bodies[2], bodies[0], large, large, bodies[0]):
        _, start = await value(engine, engine_job(small, body, 1))  # type: ignore[misc]
        assert start[1:] == body[1:8]
    megabytes = sum(written) // LARGE
    assert megabytes == 3 * 6 + 6 + 2 * 17  # two fit; what is larger than the room stays with it
    assert room_of(64 << 20) == 16 << 20
    assert room_of(0) == ROOM


async def test_a_folder_is_mounted_for_reading_and_holds_each_input_once(
    engine: DockerExecutor, there: dict[str, object], written: list[int], tmp_path: Path
) -> None:
    def seen(x: bytes) -> tuple[bytes, list[str], str]:
        folder = "/twingraph-payloads"
        try:
            open(f"{folder}/new", "w").close()
        except OSError as exc:
            return x[:8], os.listdir(folder), type(exc).__name__
        return x[:8], os.listdir(folder), ""

    body = os.urandom(2 * LARGE)
    asked = {**there, "payloads": str(tmp_path)}
    for _ in range(3):
        start, listed, error = await value(engine, job("docker", seen, (body,), **asked))  # type: ignore[misc]
        assert start == body[:8]
        assert len(listed) == 1
        assert error in ("OSError", "PermissionError")
    assert len(files(tmp_path)) == 1
    assert sum(written) < LARGE
    (owner,) = (tmp_path / FOLDER).iterdir()
    assert owner.stat().st_mode & 0o777 == 0o700  # others on this machine see nothing


async def test_all_is_removed_with_the_session(there: dict[str, object], tmp_path: Path) -> None:
    asked = {**there, "payloads": str(tmp_path)}
    async with opened(DockerExecutor, tmp_path / "home") as one:
        await value(one, engine_job(asked, bytearray(LARGE), 1))
        assert (tmp_path / FOLDER).exists()
    assert not (tmp_path / FOLDER).exists()


async def test_small_inputs_stay_with_their_job() -> None:
    assert await parts_of([b"x" * (LARGE - 1)]) == ()
