"""What several of these tests share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.executors.kubernetes_running import Admin, admin


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A folder that containers and pods see: what has begun there, and what of it may end."""
    folder = tmp_path / "gate"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.fixture(scope="module")
def engine(docker_host: str) -> Iterator[Any]:
    """A client of the tests' own engine."""
    made = docker.DockerClient(base_url=docker_host)
    yield made
    made.close()


@pytest.fixture
def cluster(kubernetes: Mapping[str, str]) -> Iterator[Admin]:
    """A namespace of the test's own."""
    with admin(kubernetes) as boss:
        yield boss
