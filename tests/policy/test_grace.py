"""A cancelled task is asked to end, and ended after its grace."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from twingraph_nb import component
from twingraph_nb.errors import TaskCancelled, TaskTimeout
from twingraph_nb.graph.task import Task


@component(platform="process", grace="20s")
def tidies_up(folder: str) -> None:
    """Ends a moment after it was asked to; longer than the grace of a platform."""
    try:
        Path(folder, "begun").touch()
        while True:
            time.sleep(0.01)
    finally:
        time.sleep(1.2)
        Path(folder, "tidy").touch()


@component(platform="process", grace=0.05)
def never_ends(folder: str) -> None:
    """Goes on whatever it is asked."""
    Path(folder, "pid").write_text(str(os.getpid()))
    Path(folder, "begun").touch()
    while True:
        try:
            while True:
                time.sleep(0.01)
        except BaseException:
            Path(folder, "asked").touch()


def begun(task: object, folder: Path) -> Task:
    assert isinstance(task, Task)
    while not (folder / "begun").exists():
        assert not task.done, task.exception()
        time.sleep(0.005)
    return task


def test_a_task_has_its_grace_to_tidy_up(tmp_path: Path) -> None:
    task = begun(tidies_up(str(tmp_path)), tmp_path)
    task.cancel()
    with pytest.raises(TaskCancelled):
        task.result(30)
    assert (tmp_path / "tidy").exists()


def test_one_that_does_not_end_is_killed_after_its_grace(tmp_path: Path) -> None:
    task = begun(never_ends(str(tmp_path)), tmp_path)
    task.cancel()
    with pytest.raises(TaskCancelled):
        task.result(30)
    assert (tmp_path / "asked").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_without_grace_nobody_is_asked(tmp_path: Path) -> None:
    task = begun(never_ends.on(grace=0)(str(tmp_path)), tmp_path)
    task.cancel()
    with pytest.raises(TaskCancelled):
        task.result(30)
    assert not (tmp_path / "asked").exists()


@component(platform="process")
def warm() -> None:
    """Has a worker import this module."""


def test_a_timeout_gives_the_same_grace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINGRAPH_PROCESSES", "1")
    warm().result(30)  # type: ignore[attr-defined]
    task = begun(tidies_up.on(timeout=0.3)(str(tmp_path)), tmp_path)
    with pytest.raises(TaskTimeout):
        task.result(30)
    assert (tmp_path / "tidy").exists()


def test_a_container_has_its_grace_too(docker_host: str, python_image: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)  # whoever the container's user is
    task = begun(
        tidies_up.on(
            platform="docker",
            host=docker_host,
            image=python_image,
            volumes={str(tmp_path): "/seen"},
        )("/seen"),
        tmp_path,
    )
    task.cancel()
    with pytest.raises(TaskCancelled):
        task.result(30)
    assert (tmp_path / "tidy").exists()
