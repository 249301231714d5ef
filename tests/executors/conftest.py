"""A pool of worker processes that the tests of a module share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.executors import running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_pool() -> AsyncIterator[None]:
    """What `running.shared` gives: to start a worker takes a second."""
    async with running.executor() as pool:
        running.pools.append(pool)
        yield
        running.pools.remove(pool)
