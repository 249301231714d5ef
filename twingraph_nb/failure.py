"""An exception as data, and back: with its notes, its causes and its traceback.

Standard library only: part of what travels to the far side. A pickled exception alone loses
its cause and its traceback; here the traceback comes back as a real one whose frames name the
user's own cell and lines, so that every tool that shows tracebacks shows those.
"""

from __future__ import annotations

import builtins
import linecache
import pickle
import traceback
import types
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["pack_failure", "restore_failure"]

_DEPTH = 20  # causes of causes
_FRAMES = 200  # of one traceback; a recursion error has a thousand, all alike


def pack_failure(
    error: BaseException, hidden: Sequence[str] = (), depth: int = _DEPTH
) -> dict[str, Any]:
    """Give the exception as plain data.

    Args:
        hidden: beginnings of file names whose frames are left out where they come first.
    """
    kind = type(error)
    return {
        "type": kind.__name__,
        "bases": [(c.__module__, c.__name__) for c in kind.__mro__[1:-1]],
        "message": _message(error),
        "notes": [str(note) for note in getattr(error, "__notes__", ())],
        "pickled": _pickled(error),
        "frames": _frames(error, tuple(hidden)),
        "cause": _linked(error.__cause__, hidden, depth),
        "context": None
        if error.__suppress_context__
        else _linked(error.__context__, hidden, depth),
        "suppress": error.__suppress_context__,
    }


def restore_failure(data: Mapping[str, Any]) -> BaseException:
    """Give the exception back; one that cannot be built here becomes a stand-in of its name.

    A stand-in is derived from the same built-in exception and has classes of the same names
    between, so that `except ValueError` and a policy's `retry_on` work on it as well.
    """
    error = _unpickled(data["pickled"]) or _stand_in(data)
    notes = data["notes"]
    if notes and list(getattr(error, "__notes__", ())) != notes:
        for note in notes:
            error.add_note(note)
    error.__traceback__ = _traceback(data["frames"])
    if data["cause"] is not None:
        error.__cause__ = restore_failure(data["cause"])
    if data["context"] is not None:
        error.__context__ = restore_failure(data["context"])
    error.__suppress_context__ = data["suppress"]
    return error


def _linked(
    error: BaseException | None, hidden: Sequence[str], depth: int
) -> dict[str, Any] | None:
    return pack_failure(error, hidden, depth - 1) if error is not None and depth else None


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as exc:  # the user's own __str__ may do anything
        return f"<no message: __str__ raised {type(exc).__name__}>"


def _pickled(error: BaseException) -> bytes | None:
    try:
        return pickle.dumps(error, 5)
    except Exception:  # any refusal means the same: a stand-in takes its place
        return None


def _unpickled(body: bytes | None) -> BaseException | None:
    if body is None:
        return None
    try:
        found = pickle.loads(body)
    except Exception:  # a class that is not here, or whose __init__ wants other arguments
        return None
    return found if isinstance(found, BaseException) else None


def _stand_in(data: Mapping[str, Any]) -> BaseException:
    made: type[BaseException] = Exception
    between: list[tuple[str, str]] = []
    for module, name in data["bases"]:
        found = getattr(builtins, name, None) if module == "builtins" else None
        if isinstance(found, type) and issubclass(found, BaseException):
            made = found
            break
        between.append((module, name))
    message = data["message"]
    for module, name in reversed(between):
        made = type(name, (made,), {"__module__": module})
    members = {"__str__": lambda self: message, "__init__": lambda self, *args: None}
    made = type(data["type"], (made,), members)
    return made.__new__(made, message)


def _frames(error: BaseException, hidden: tuple[str, ...]) -> list[tuple[str, int, str, str]]:
    """File, line, function and text of each frame, outermost first."""
    steps = list(traceback.walk_tb(error.__traceback__))
    shown = 0
    while hidden and shown < len(steps):
        if not steps[shown][0].f_code.co_filename.startswith(hidden):
            break
        shown += 1
    steps = steps[shown:]
    if len(steps) > _FRAMES:
        steps = steps[: _FRAMES // 2] + steps[-_FRAMES // 2 :]
    found = []
    for step, line in steps:
        name = step.f_code.co_filename
        text = linecache.getline(name, line, step.f_globals).rstrip()
        found.append((name, line, step.f_code.co_name, text))
    return found


def _traceback(frames: Sequence[tuple[str, int, str, str]]) -> types.TracebackType | None:
    """A traceback made of frames that only name their place."""
    made: types.TracebackType | None = None
    for filename, line, name, text in reversed(frames):
        _remember_line(filename, line, text)
        step = _step(filename, name, max(1, line))
        made = types.TracebackType(made, step.tb_frame, step.tb_lasti, max(1, line))
    return made


def _remember_line(filename: str, line: int, text: str) -> None:
    """See to it that the line can be shown where the file itself is not."""
    if not text or linecache.getline(filename, line):
        return
    kept = linecache.cache.get(filename)
    lines = list(kept[2]) if kept is not None and len(kept) == 4 else []
    lines += ["\n"] * (line - len(lines))
    lines[line - 1] = text + "\n"
    linecache.cache[filename] = (sum(map(len, lines)), None, lines, filename)


def _raiser() -> None:
    raise RuntimeError


def _step(filename: str, name: str, line: int) -> types.TracebackType:
    """A step of a traceback at that place. Only its names matter, nothing of it runs."""
    code = _raiser.__code__
    code = code.replace(
        co_filename=filename,
        co_name=name,
        co_qualname=name,
        co_firstlineno=line,
        co_linetable=_line_table(len(code.co_code) // 2),
    )
    try:
        types.FunctionType(code, {"__name__": name, "__file__": filename})()
    except RuntimeError as exc:
        step = exc.__traceback__
        assert step is not None
        assert step.tb_next is not None
        return step.tb_next
    raise AssertionError("the raiser raises")


def _line_table(units: int) -> bytes:
    """Say of each instruction that it is on the first line, columns not known.

    A step needs an instruction of its own: -1 for "none" sends the `executing` library, with
    which IPython shows tracebacks, into an endless loop.
    Source: "no column info" entries, Objects/locations.md of CPython (3.11 to 3.14).
    """
    lengths = [min(8, units - at) for at in range(0, units, 8)]
    return b"".join(bytes((0x80 | 13 << 3 | (length - 1), 0)) for length in lengths)
