"""Platforms by name; each is imported at first use."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points

from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.base import Executor

__all__ = ["ENTRY_POINT", "make_executor"]

ENTRY_POINT = "twingraph_nb.executors"
"""Other packages offer a platform under this entry point group."""
_BUILT = {"process": "twingraph_nb.executors.process:ProcessExecutor"}


def make_executor(name: str, *, workers: int) -> Executor:
    """Give the executor of a platform, not opened yet.

    Raises:
        ExecutorError: there is none of that name.
    """
    path = _BUILT.get(name)
    if path is not None:
        module, _, attribute = path.partition(":")
        return getattr(importlib.import_module(module), attribute)(workers)  # type: ignore[no-any-return]
    for entry in entry_points(group=ENTRY_POINT):
        if entry.name == name:
            return entry.load()()  # type: ignore[no-any-return]
    raise ExecutorError(f"no executor is installed for platform {name!r}")
