"""What a component in another language leaves in Python: its function, its errors."""

from __future__ import annotations

import linecache
import re
from collections.abc import Sequence

from twingraph_nb.component import Component
from twingraph_nb.errors import DefinitionError
from twingraph_nb.failure import restore_failure

__all__ = ["ForeignError", "ForeignFunction", "foreign_error", "spoken_by"]


class ForeignError(Exception):
    """An error of a component in another language; its class has the name it had there.

    language: of the component. lines: of the cell, innermost first.
    """

    language: str = ""
    lines: tuple[int, ...] = ()

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (type(self).__name__, str(self), self.language, self.lines)


class ForeignFunction:
    """Stands where a Python component has its function; cannot be called itself."""

    def __init__(self, name: str, language: str) -> None:
        self.__name__ = self.__qualname__ = name
        self.__module__ = "__main__"
        self.language = language

    def __call__(self, *args: object, **kwargs: object) -> object:
        raise DefinitionError(
            f"{self.__name__} is {self.language} code, not a Python function: "
            "call the component, which runs it in a worker"
        )


def spoken_by(component: Component) -> str:
    """Give the name of a component's language, also where it is known by its manifest's path."""
    return str(getattr(component.function, "language", component.language))


def foreign_error(
    component: Component, name: str, message: str, lines: Sequence[int]
) -> ForeignError:
    """Give an error with a traceback that shows the cell's own lines.

    Args:
        lines: of the component's code, counted from 1, innermost first.
    """
    source = component.source
    ours = tuple(source.line - 1 + line for line in lines)
    error = _again(name, message, spoken_by(component), ours)
    if ours:
        # As of a module: Python must not look for the end of a function in what is not Python.
        name = source.filename
        frames = [
            (name, line, "<module>", linecache.getline(name, line), 1) for line in reversed(ours)
        ]
        stand_in: dict[str, object] = {
            "type": "Error",
            "bases": [],
            "message": "",
            "notes": [],
            "pickled": None,
        }
        rest = {"frames": frames, "cause": None, "context": None, "suppress": False}
        error.__traceback__ = restore_failure({**stand_in, **rest}).__traceback__
    return error


def _again(name: str, message: str, language: str, lines: tuple[int, ...]) -> ForeignError:
    word = re.sub(r"\W", "_", name.rpartition("::")[2].rpartition(".")[2]) or "Error"
    made: type[ForeignError] = type(word, (ForeignError,), {"__module__": language})
    error = made(message)
    error.language, error.lines = language, lines
    return error
