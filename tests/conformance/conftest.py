"""The suite keeps one session for each platform, so the home of each test is not its own."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def home() -> None:
    """In place of the fixture that closes the session after each test."""
