"""One cache of built components for all tests of this folder, and the shell of the magics."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.magics.conftest import _shell, notebook  # noqa: F401 - fixtures


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all processes of a run build in."""
    run = tmp_path_factory.getbasetemp()
    folder = (run.parent if "PYTEST_XDIST_WORKER" in os.environ else run) / "built"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def cache(home: Path, built: Path) -> Path:
    """Compiling costs a second or two: what one test has built serves the next."""
    home.mkdir(exist_ok=True)
    (home / "cache").symlink_to(built)
    return built
