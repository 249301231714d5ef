"""ruff and mypy find nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.house.package import ROOT

CHECKS = {
    "ruff check": ("ruff", "check", "--quiet", "--output-format=concise", "."),
    "ruff format": ("ruff", "format", "--check", "."),
    "mypy": ("mypy",),
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_checker_finds_nothing(check: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *check], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
