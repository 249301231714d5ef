"""How errors look in a notebook: ours as one message, the user's own without our frames."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics

from twingraph_nb.errors import TwingraphError

__all__ = ["only_user_frames", "says_what_is_wrong"]

Result = TypeVar("Result")


def says_what_is_wrong(magic: Callable[..., Result]) -> Callable[..., Result]:
    """Make a magic show a `TwingraphError` as its message alone, without a traceback.

    The error keeps its class and fails the cell. IPython's own `UsageError` would look the same,
    but kernels do not report it as an error, so that a batch run would stop half way and
    say that it went well.
    """

    @functools.wraps(magic)
    def wrapped(self: Magics, *args: str) -> Result:
        try:
            return magic(self, *args)
        except TwingraphError as exc:
            shown = ["\n".join([f"{type(exc).__name__}: {exc}", *getattr(exc, "__notes__", ())])]
            if not hasattr(exc, "_render_traceback_"):
                exc._render_traceback_ = lambda: shown  # type: ignore[attr-defined]
            raise

    return wrapped


def only_user_frames(ip: InteractiveShell, exc: Exception, filename: str) -> None:
    """Let IPython show an error of the user's cell from the cell's own frame on.

    Args:
        filename: the name the cell was compiled under.
    """
    at: TracebackType | None = exc.__traceback__
    while at is not None and at.tb_frame.f_code.co_filename != filename:
        at = at.tb_next
    if at is None:
        return
    own = at

    def render() -> list[str]:
        shown: list[str] = ip.InteractiveTB.structured_traceback(type(exc), exc, own, tb_offset=0)
        return shown

    try:
        exc._render_traceback_ = render  # type: ignore[attr-defined]
    except (AttributeError, TypeError):
        pass  # an exception class that takes no attributes is shown with our frames
