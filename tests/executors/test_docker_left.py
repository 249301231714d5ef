"""Platform `docker` leaves no container: however it was made, lost, or its kernel ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError
from requests.exceptions import ReadTimeout

from tests.executors.docker_running import executor, where
from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors import docker as platform
from twingraph_nb.executors import docker_container
from twingraph_nb.executors.docker_container import ALWAYS, IF_MARKED, MARKED
from twingraph_nb.executors.owner import KEPT, LONGEST, OWNER, owner_label

pytestmark = pytest.mark.usefixtures("docker_engine")


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


async def test_one_whose_making_was_never_heard_of_is_found_at_the_end(
    client: Any, python_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = docker.APIClient.create_container_from_config

    def unheard(*args: Any) -> None:
        make(*args)
        raise ReadTimeout("no answer")

    async with executor(client, python_image) as using:
        monkeypatch.setattr(docker.APIClient, "create_container_from_config", unheard)
        with pytest.raises(ExecutorError, match="the Docker engine does not answer"):
            await using.run(where)
        assert [one.status for one in using.containers()] == ["created"]
    # `executor` looks that nothing is left


async def test_what_the_engine_does_not_remove_is_tried_again_and_then_said(
    client: Any, python_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_container, "_PAUSES", (0.0, 0.0))
    remove, tries = docker.APIClient.remove_container, list[str]()

    def refuses(api: Any, id: str, **options: Any) -> None:
        tries.append(id)
        raise APIError("did not end in time")

    async with executor(client, python_image) as using:
        found, _ = await using.run(where)
        with monkeypatch.context() as patch:
            patch.setattr(docker.APIClient, "remove_container", refuses)
            with pytest.raises(ExecutorError, match=f"containers {found} are left: did not end"):
                await using.made.close()
        (one,) = using.containers()
        remove(client.api, one.id, force=True)
    assert tries == [one.id] * 5  # twice as it ends, once when it has ended, twice at last


async def test_another_session_may_be_closed_meanwhile(client: Any, python_image: str) -> None:
    async with executor(client, python_image) as using:
        first, _ = await using.run(where)
        async with using.another() as other:
            assert (await other.run(where))[0] != first
        assert (await using.run(where))[0] == first


NOW, OLD = time.time(), time.time() - LONGEST - 60
DEAD = owner_label().replace(".", ".9999999", 1)
ELSEWHERE = "0123456789abcdef.17.4711"


@pytest.mark.parametrize(
    ("label", "state", "created", "kept", "wanted"),
    [
        (owner_label(), "running", OLD, "", True),
        (owner_label(), "exited", NOW, "", True),  # its kernel is about to remove it
        (DEAD, "running", NOW, "", False),
        (DEAD, "running", NOW, ALWAYS, True),
        (DEAD, "exited", NOW, ALWAYS, False),
        (DEAD, "running", OLD, ALWAYS, False),
        (DEAD, "running", NOW, IF_MARKED, False),
        (DEAD, "running", NOW, f"{IF_MARKED} {MARKED}x", True),
        (DEAD, "running", OLD, f"{IF_MARKED} {MARKED}x", False),
        (DEAD, "running", NOW, f" {MARKED}x", False),
        (ELSEWHERE, "running", OLD, "", True),
        (ELSEWHERE, "exited", NOW, ALWAYS, True),
        (ELSEWHERE, "exited", OLD, ALWAYS, False),  # this machine before it was started anew
    ],
    ids=range(13),  # the others differ from process to process
)
def test_what_nobody_can_want_is_left_over(
    label: str, state: str, created: float, kept: str, wanted: bool
) -> None:
    said, _, name = kept.partition(" ")
    labels = {OWNER: label, **({KEPT: said} if said else {})}
    about = {"State": state, "Created": int(created), "Names": [f"/{name or 'any'}"]}
    found = {**about, "Labels": labels}
    assert platform._may_be_wanted(found) == wanted
