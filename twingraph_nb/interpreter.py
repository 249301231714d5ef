"""What the session needs to know of the process it lives in: its shell, its exit, its memory."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator

__all__ = ["before_exit", "machine_memory", "say", "shell", "without_gc"]

_MANY = 20_000
"""Objects from which on a look for garbage would cost more than it gives."""


def shell() -> object | None:
    """Give IPython's shell, where there is one."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def before_exit(act: Callable[[], None]) -> None:
    """Call at the interpreter's exit, while threads may still be started."""
    # Exit callbacks run last in, first out: ours must come before that of the standard pool,
    # which asyncio.to_thread needs until all runs are over.
    importlib.import_module("concurrent.futures.thread")
    register = getattr(threading, "_register_atexit", atexit.register)
    try:
        register(act)
    except RuntimeError:  # the interpreter is going down already
        atexit.register(act)


def say(sentence: str) -> None:
    """Tell the user something where no call can: on the real stderr."""
    if sys.__stderr__ is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.__stderr__.write(f"twingraph: {sentence}\n")


def machine_memory() -> int:
    """Give the bytes of memory of this machine; very many where that is not known."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 2**40


@contextlib.contextmanager
def without_gc(made: int) -> Iterator[None]:
    """Look for no garbage while much is made that stays: to do so would double the time.

    Args:
        made: about how many objects; of few nothing changes.
    """
    if made <= _MANY or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
