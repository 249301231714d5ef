"""Views: what a run and a task look like in a notebook, a batch run and a terminal."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twingraph_nb.views.show import register

__all__ = ["register"]


def __getattr__(name: str) -> object:
    """Load a name at its first use: `%load_ext` needs only the cards."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.show"), name)
