"""Builds that many runs share go when nothing has used them for long, and only then."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from pathlib import Path

import pytest

from twingraph_nb.executors.environments import Builder
from twingraph_nb.executors.interpreters import find_interpreter
from twingraph_nb.executors.places import kit_folder
from twingraph_nb.languages.base import kept
from twingraph_nb.runs.cli import main
from twingraph_nb.store.cache import Unused, remove_unused, unused

DAY = 86400.0


def built(cache: Path, kind: str, name: str, days: float, used: float | None = None) -> Path:
    """A build that was made so many days ago, and used last when `used` says."""
    folder = cache / kind / name
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "program").write_bytes(b"x" * 1000)
    if used is not None:
        (folder / "used").touch()
        os.utime(folder / "used", (time.time() - used * DAY,) * 2)
    os.utime(folder, (time.time() - days * DAY,) * 2)
    return folder


def test_what_was_not_used_for_long_goes_and_the_rest_stays(tmp_path: Path) -> None:
    old = built(tmp_path, "languages", "old", 40)
    draft = built(tmp_path, "languages", ".old-draft-of-a-killed-build", 40)
    built(tmp_path, "languages", "young", 1)
    worn = built(tmp_path, "environments", "worn", 50, used=45)
    built(tmp_path, "environments", "dear", 50, used=2)
    expected = unused(tmp_path, 30 * DAY)
    assert set(expected) == {Unused(old, 1000), Unused(draft, 1000), Unused(worn, 1000)}
    assert remove_unused(tmp_path, 30 * DAY) == expected
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["dear", "young"]
    assert remove_unused(tmp_path, 30 * DAY) == ()
    assert remove_unused(tmp_path / "nowhere", 30 * DAY) == ()


def test_what_is_an_hour_old_stays_whatever_is_asked_for(tmp_path: Path) -> None:
    built(tmp_path, "languages", "being-made", 0.02)
    assert remove_unused(tmp_path, 0.0) == ()


def test_an_environment_that_is_being_built_stays(tmp_path: Path) -> None:
    folder = built(tmp_path, "environments", "e1", 40)
    lock = tmp_path / "environments" / "e1.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert remove_unused(tmp_path, 30 * DAY) == ()
    assert remove_unused(tmp_path, 30 * DAY) == (Unused(folder, 1000),)
    assert lock.exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    elsewhere = built(tmp_path / "mine", "languages", "precious", 40)
    (tmp_path / "cache" / "languages").mkdir(parents=True)
    (tmp_path / "cache" / "languages" / "link").symlink_to(elsewhere)
    inside = built(tmp_path / "cache", "languages", "old", 40)
    (inside / "link").symlink_to(elsewhere)
    os.utime(inside, (1000.0, 1000.0))
    remove_unused(tmp_path / "cache", 30 * DAY)
    assert (elsewhere / "bin" / "program").exists()
    assert not inside.exists()


def test_whoever_uses_a_build_keeps_it_young(tmp_path: Path) -> None:
    environment = Builder(tmp_path, find_interpreter(sys.executable, "c"), ["tiny"])
    folder = built(tmp_path, "environments", environment.digest, 40)
    (folder / "ready").touch()
    kit = Path(kit_folder(tmp_path))
    program = kept(tmp_path / "languages", ("bash", "text"), lambda at: (at / "run").touch())
    for each in (folder, kit, program):
        os.utime(each, (1000.0, 1000.0))
    assert len(unused(tmp_path, 30 * DAY)) == 3
    environment.ready("c", lambda line: None)
    kit_folder(tmp_path)
    kept(tmp_path / "languages", ("bash", "text"), lambda at: None)
    assert unused(tmp_path, 30 * DAY) == ()


def test_gc_clears_the_builds_of_its_home_too(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = built(home / "cache", "languages", "old", 40)
    built(home / "cache", "languages", "young", 1)
    none = f"no runs are recorded in {home}\n"
    said = "1 unused build (programs, environments): 1000 bytes\n"
    assert main(["gc", "--older-than", "30d", "--dry-run"]) == 0
    assert capsys.readouterr().out == f"{none}would remove {said}"
    assert old.exists()
    assert main(["gc", "--older-than", "30d"]) == 0
    assert capsys.readouterr().out == f"{none}removed {said}"
    assert not old.exists()
    assert main(["gc", "--older-than", "30d"]) == 0
    assert capsys.readouterr().out == none
