"""What several of these tests share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A folder that containers and pods see: what has begun there, and what of it may end."""
    folder = tmp_path / "gate"
    folder.mkdir()
    folder.chmod(0o777)
    return folder
