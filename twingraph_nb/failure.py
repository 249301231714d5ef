"""An exception as data, and back: with its notes, its causes and its traceback.

Standard library only: part of what travels to the far side. A pickled exception alone loses
its cause and its traceback; here the traceback comes back as a real one whose frames name the
user's own cell and lines, so that every tool that shows tracebacks shows those.

The data is plain. From a place that is not trusted its pickle is not looked at: the exception is
made of its class, if that is loaded here, and of its arguments and attributes as `values` reads
them.
"""

from __future__ import annotations

import builtins
import io
import linecache
import os
import pickle
import sys
import tokenize
import traceback
import types
from collections.abc import Mapping, Sequence
from typing import Any

from twingraph_nb.values import NotPlain, ValuesError, decode, encode
from twingraph_nb.values_classes import (
    class_named,
    class_ref,
    exception_made,
    exception_reduced,
    exception_state,
)

__all__ = ["pack_failure", "restore_failure"]

Frame = tuple[str, int, str, str, int]
"""File, line, function, text of the line, first line of the function."""
_DEPTH = 20  # causes of causes
_FRAMES = 200  # of one traceback; a recursion error has a thousand, all alike
_BASES = 50
_LINES = 200_000  # kept for tracebacks of one failure, empty ones between them included
_SOURCE = 1 << 23  # bytes; no source file is larger
_WIDEST = 1_000  # characters of a line that are shown
_CLOSERS = {"(": ")", "[": "]", "{": "}"}


def pack_failure(
    error: BaseException,
    hidden: Sequence[str] = (),
    *,
    pickles: bool = True,
    depth: int = _DEPTH,
) -> dict[str, Any]:
    """Give the exception as plain data, which `values.encode` can take.

    Args:
        hidden: beginnings of file names whose frames are left out where they come first.
        pickles: with its pickle too, for a side that trusts this one.
        depth: how many causes of causes are told.
    """
    kind = type(error)
    suppress = error.__suppress_context__
    linked = {"hidden": hidden, "pickles": pickles, "depth": depth - 1}
    return {
        "type": kind.__name__,
        "bases": [(c.__module__, c.__name__) for c in kind.__mro__[1:-1]],
        "message": _message(error),
        "notes": [str(note) for note in getattr(error, "__notes__", ())],
        "pickled": _pickled(error) if pickles else None,
        "plain": _plain(error),
        "frames": _frames(error, tuple(hidden)),
        "cause": _linked(error.__cause__, linked),
        "context": None if suppress else _linked(error.__context__, linked),
        "suppress": suppress,
    }


def restore_failure(data: Mapping[str, Any], *, trust: bool = True) -> BaseException:
    """Give the exception back; one that cannot be built here becomes a stand-in of its name.

    A stand-in is derived from the same built-in exception and has classes of the same names
    between, so that `except ValueError` and a policy's `retry_on` work on it as well.

    Args:
        trust: its pickle is read. Without it nothing of the user's runs and nothing is imported.
    Raises:
        ValuesError: the data is not that of an exception.
    """
    try:
        return _Restored(trust).error(data, _DEPTH)
    except ValuesError:
        raise
    except Exception as exc:  # whatever made-up data makes Python raise
        said = f"malformed: the data of an exception ({type(exc).__name__}: {exc})"
        raise ValuesError(said) from exc


class _Restored:
    """An exception and its causes on their way back."""

    def __init__(self, trust: bool) -> None:
        self._trust = trust
        self._lines = _LINES

    def error(self, data: Mapping[str, Any], depth: int) -> BaseException:
        error = (_unpickled(data["pickled"]) if self._trust else None) or self._rebuilt(data)
        notes = [str(note) for note in data["notes"]]
        if notes and list(getattr(error, "__notes__", ())) != notes:
            for note in notes:
                BaseException.add_note(error, note)
        error.__traceback__ = self._traceback(data["frames"][:_FRAMES])
        if data["cause"] is not None and depth:
            error.__cause__ = self.error(data["cause"], depth - 1)
        if data["context"] is not None and depth:
            error.__context__ = self.error(data["context"], depth - 1)
        error.__suppress_context__ = bool(data["suppress"])
        return error

    def _rebuilt(self, data: Mapping[str, Any]) -> BaseException:
        """The exception of its own class, or a stand-in."""
        plain = data.get("plain")
        if plain is not None:
            try:
                ref, whole, args, state = decode(plain, trust=self._trust)
                kind = class_named(ref, self._trust)
                if isinstance(kind, type) and issubclass(kind, BaseException):
                    if not whole:  # its own words may need what did not travel
                        kind = _worded(kind.__name__, kind, str(data["message"]))
                    return exception_made(kind, args, state)
            except ValuesError:
                return _stand_in(data)
        return _stand_in(data)

    def _traceback(self, frames: Sequence[Frame]) -> types.TracebackType | None:
        """A traceback made of frames that only name their place."""
        made: types.TracebackType | None = None
        for filename, line, name, text, first in reversed(frames):
            shown = _shown(filename)
            line = max(1, line)
            if line <= self._lines and _remember_line(shown, line, text):
                self._lines -= line
            # Of a file that is not here there are no other lines to count from.
            begins = max(1, min(first, line)) if shown == filename else line
            step = _step(shown, name, line, begins)
            made = types.TracebackType(made, step.tb_frame, step.tb_lasti, line)
        return made


def _linked(error: BaseException | None, said: Mapping[str, Any]) -> dict[str, Any] | None:
    return pack_failure(error, **said) if error is not None and said["depth"] >= 0 else None


def _plain(error: BaseException) -> list[bytes] | None:
    """Its class, whether all of it is here, arguments and attributes, as frames."""
    try:
        ref = class_ref(type(error))
    except NotPlain:
        return None
    args, state = error.args, exception_state(error)
    whole = _travels(args) and _travels(state)
    if not whole:
        message = _message(error)
        args = tuple(each if _travels(each) else message for each in args)
        state = {name: item for name, item in state.items() if _travels(item)}
    return [bytes(each) for each in encode((ref, whole, args, state))]


def _travels(value: object) -> bool:
    """True if the value arrives also where it is not trusted."""
    try:
        decode(encode(value))
    except Exception:  # NotPlain, ValuesError, or what a user's own class raises when looked into
        return False
    return True


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as exc:  # the user's own __str__ may do anything
        return f"<no message: __str__ raised {type(exc).__name__}>"


def _pickled(error: BaseException) -> bytes | None:
    file = io.BytesIO()
    try:
        _Pickler(file, error).dump(error)
        return file.getvalue()
    except Exception:  # any refusal means the same: a stand-in takes its place
        return None


class _Pickler(pickle.Pickler):
    """Takes exceptions along with their causes, but for the one whose causes are told beside it."""

    def __init__(self, file: io.BytesIO, error: BaseException) -> None:
        super().__init__(file, 5)
        self._error = error

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, BaseException):
            return exception_reduced(thing, linked=thing is not self._error)
        return NotImplemented


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
    for module, name in data["bases"][:_BASES]:
        found = getattr(builtins, name, None) if module == "builtins" else None
        if isinstance(found, type) and issubclass(found, BaseException):
            made = found
            break
        between.append((module, name))
    if made.__name__.endswith("ExceptionGroup"):  # one that has no exceptions cannot be
        made = Exception if issubclass(made, Exception) else BaseException
    message = str(data["message"])
    for module, name in reversed(between):
        made = type(name, (made,), {"__module__": module})
    made = _worded(data["type"], made, message)
    return made.__new__(made, message)


def _worded(name: str, base: type[BaseException], message: str) -> type[BaseException]:
    """A class of exceptions that say what they are told to."""
    members = {
        "__module__": base.__module__,
        "__str__": lambda self: message,
        "__init__": lambda self, *args: None,
    }
    return type(name, (base,), members)


def _frames(error: BaseException, hidden: tuple[str, ...]) -> list[Frame]:
    """The frames of its traceback, outermost first."""
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
        found.append((name, line, step.f_code.co_name, text, step.f_code.co_firstlineno))
    return found


def _remember_line(filename: str, line: int, text: str) -> bool:
    """See to it that the line can be shown where the file itself is not."""
    if not text or linecache.getline(filename, line).strip():
        return False
    text = _closed(text.strip())
    if not text:
        return False
    kept = linecache.cache.get(filename)
    lines = list(kept[2]) if kept is not None and len(kept) == 4 else []
    lines += ["\n"] * (line - len(lines))
    lines[line - 1] = text + "\n"
    linecache.cache[filename] = (sum(map(len, lines)), None, lines, filename)
    return True


def _closed(text: str) -> str:
    """The line, its brackets closed, as what Python can read alone; "" if that cannot be.

    IPython reads the lines from there on, and fails where they end within a statement.
    """
    opened: list[str] = []
    if text.endswith("\\"):  # the statement goes on in a line that is not here
        text = f"{text[:-1]}..."
    try:
        for token in tokenize.generate_tokens(io.StringIO(text[:_WIDEST]).readline):
            if token.type == tokenize.OP and token.string in _CLOSERS:
                opened.append(_CLOSERS[token.string])
            elif token.type == tokenize.OP and token.string in _CLOSERS.values():
                opened.pop()
        return text[:_WIDEST]
    except IndexError:  # closes what was opened on a line that is not here
        return ""
    except (tokenize.TokenError, SyntaxError):
        if not opened or len(text) > _WIDEST:
            return ""
        return _closed(f"{text}...{''.join(reversed(opened))}")


def _shown(filename: str) -> str:
    """A name under which its lines are shown: no device, pipe or huge file is opened for them.

    One that is not here gets brackets, as Python names what is no file, lest IPython opens it.
    """
    if filename in linecache.cache or (filename[:1] == "<" and filename[-1:] == ">"):
        return filename
    places = [filename]
    if not os.path.isabs(filename):
        places += [os.path.join(folder, filename) for folder in sys.path if type(folder) is str]
    there = [place for place in places if os.path.lexists(place)]
    good = [one for one in there if os.path.isfile(one) and os.path.getsize(one) <= _SOURCE]
    return filename if there and good == there else f"<{filename}>"


def _raiser() -> None:
    raise RuntimeError


def _step(filename: str, name: str, line: int, first: int) -> types.TracebackType:
    """A step of a traceback at that place, in a function that begins at its first line.

    Only its names matter, nothing of it runs. IPython counts from the first line.
    """
    code = _raiser.__code__
    code = code.replace(
        co_filename=filename,
        co_name=name,
        co_qualname=name,
        co_firstlineno=first,
        co_linetable=_line_table(len(code.co_code) // 2, line - first),
    )
    try:
        types.FunctionType(code, {"__name__": name, "__file__": filename})()
    except RuntimeError as exc:
        step = exc.__traceback__
        assert step is not None
        assert step.tb_next is not None
        return step.tb_next
    raise AssertionError("the raiser raises")


def _line_table(units: int, further: int) -> bytes:
    """Say of each instruction that it is so many lines after the first one, columns not known.

    A step needs an instruction of its own: -1 for "none" sends the `executing` library, with
    which IPython shows tracebacks, into an endless loop.
    Source: "no column info" entries, Objects/locations.md of CPython (3.11 to 3.14).
    """
    lengths = [min(8, units - at) for at in range(0, units, 8)]
    jump, left = bytearray(), further << 1  # a signed number, six bits to a byte, lowest first
    while left > 0x3F:
        jump.append(0x40 | left & 0x3F)
        left >>= 6
    jump.append(left)
    entries = [bytes((0x80 | 13 << 3 | (length - 1),)) for length in lengths]
    return entries[0] + bytes(jump) + b"".join(entry + b"\0" for entry in entries[1:])
