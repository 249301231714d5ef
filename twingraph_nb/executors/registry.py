"""Platforms by name; each is imported at first use."""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Mapping

from twingraph_nb.errors import ExecutorError, ExecutorMissing
from twingraph_nb.executors.base import Executor
from twingraph_nb.platform_choice import other_platforms
from twingraph_nb.platforms import PLATFORMS
from twingraph_nb.settings import Settings

__all__ = ["closed", "make_executor"]

_CLASSES = {
    "process": "twingraph_nb.executors.process:ProcessExecutor",
    "docker": "twingraph_nb.executors.docker:DockerExecutor",
    "kubernetes": "twingraph_nb.executors.kubernetes:KubernetesExecutor",
    "lambda": "twingraph_nb.executors.aws_lambda:LambdaExecutor",
    "batch": "twingraph_nb.executors.aws_batch:BatchExecutor",
    "celery": "twingraph_nb.executors.celery:CeleryExecutor",
    "dask": "twingraph_nb.executors.dask:DaskExecutor",
}

_loading = threading.Lock()
"""One at a time: several load `requests`, whose parts import each other, and threads that do so at
once see halves of it."""


def make_executor(name: str, settings: Settings) -> Executor:
    """Give the executor of a platform, not opened yet.

    Raises:
        ExecutorMissing: its client library is not installed.
        ExecutorError: there is none of that name.
    """
    path = _CLASSES.get(name)
    if path is None:
        entry = other_platforms().get(name)
        if entry is None:
            raise ExecutorError(f"no executor is installed for platform {name!r}")
        return entry.load()()  # type: ignore[no-any-return]
    module, _, attribute = path.partition(":")
    try:
        with _loading:
            found = importlib.import_module(module)
    except ModuleNotFoundError as exc:
        if (exc.name or "").startswith("twingraph_nb"):
            raise
        raise ExecutorMissing(name, PLATFORMS[name].extra) from exc
    return getattr(found, attribute)(settings)  # type: ignore[no-any-return]


async def closed(executors: Mapping[str, Executor], timeout: float) -> list[str]:
    """Close executors, all at once; gives a sentence about each that could not be.

    Args:
        timeout: seconds that they have.
    """
    if not executors:
        return []
    closing = {asyncio.ensure_future(one.close()): name for name, one in executors.items()}
    _, late = await asyncio.wait(closing, timeout=timeout)
    said = []
    for task, name in closing.items():
        left = f"platform {name!r} may have left something running"
        if task in late:
            task.cancel()
            said.append(f"{left}: it did not close within {timeout:.0f} s")
        elif task.cancelled():
            said.append(f"{left}: its end was cancelled")
        elif (error := task.exception()) is not None:
            said.append(f"{left}: {type(error).__name__}: {error}")
    return said
