"""A notebook cell becomes a component, a graph runs live under it, and a batch run repeats it."""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from twingraph_nb.asking import ask
    from twingraph_nb.breaker import Breaker
    from twingraph_nb.component import Component, Pipeline
    from twingraph_nb.context import ctx
    from twingraph_nb.decorators import async_component, component, pipeline
    from twingraph_nb.errors import TwingraphError
    from twingraph_nb.exploring import explore
    from twingraph_nb.graph.run import Run
    from twingraph_nb.graph.task import Task
    from twingraph_nb.grouping import Settled, at_least, attempt, critical, group
    from twingraph_nb.lineage_door import lineage
    from twingraph_nb.session import Session, get_session

__all__ = [
    "Breaker",
    "Component",
    "Pipeline",
    "Run",
    "Session",
    "Settled",
    "Task",
    "TwingraphError",
    "__version__",
    "ask",
    "async_component",
    "at_least",
    "attempt",
    "component",
    "critical",
    "ctx",
    "explore",
    "get_session",
    "group",
    "lineage",
    "load_ipython_extension",
    "pipeline",
    "unload_ipython_extension",
]

_HOMES = {
    "Breaker": "breaker",
    "Component": "component",
    "Pipeline": "component",
    "Run": "graph.run",
    "Session": "session",
    "Settled": "grouping",
    "Task": "graph.task",
    "TwingraphError": "errors",
    "ask": "asking",
    "async_component": "decorators",
    "at_least": "grouping",
    "attempt": "grouping",
    "component": "decorators",
    "critical": "grouping",
    "ctx": "context",
    "explore": "exploring",
    "get_session": "session",
    "group": "grouping",
    "lineage": "lineage_door",
    "pipeline": "decorators",
}


def __getattr__(name: str) -> object:
    """Load a public name at its first use (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'twingraph_nb' has no attribute {name!r}")
    if home != "context":
        importlib.import_module("twingraph_nb.session")  # so that calls find their session
    found = getattr(importlib.import_module(f"twingraph_nb.{home}"), name)
    globals()[name] = found
    return found


def load_ipython_extension(ipython: object) -> None:
    """Make the magics and live views available: ``%load_ext twingraph_nb``."""
    importlib.import_module("twingraph_nb.magics").load(ipython)


def unload_ipython_extension(ipython: object) -> None:
    """Take the magics away again."""
    importlib.import_module("twingraph_nb.magics").unload(ipython)


class _Package(types.ModuleType):
    """Keeps the public name `component` when the submodule of that name is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
