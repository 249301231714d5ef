from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from twingraph_nb.store import Store


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    """An open store of its own."""
    opened = Store.open(home)
    yield opened
    opened.close()
