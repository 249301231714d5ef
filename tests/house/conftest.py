"""Syntax trees are kept no longer than for the file of tests that looks at them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.house.package import modules


@pytest.fixture(scope="module", autouse=True)
def trees() -> Iterator[None]:
    """Those of the whole package are a million objects, which every search for garbage visits."""
    yield
    for module in modules():
        for kept in ("tree", "nodes"):
            vars(module).pop(kept, None)
