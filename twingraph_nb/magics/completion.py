"""Tab completion of the magic lines: options, platforms, backoffs, commands, runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from IPython.core.interactiveshell import InteractiveShell

from twingraph_nb.magics.define import COMPONENT_FLAGS, COMPONENT_OPTIONS, PIPELINE_OPTIONS
from twingraph_nb.platforms import PLATFORMS
from twingraph_nb.policy import BACKOFFS

__all__ = ["COMMANDS", "complete_line"]

COMMANDS = (
    "status",
    "runs",
    "show",
    "run",
    "cancel",
    "pause",
    "resume",
    "answer",
    "diff",
    "components",
    "platforms",
    "lineage",
    "nest",
)
"""What ``%twingraph`` can do."""

_VALUES = {
    "--platform": tuple(sorted(PLATFORMS)),
    "--lang": ("python", "javascript", "typescript", "bash", "c++", "rust"),
    "--backoff": BACKOFFS,
    "--on-error": ("fail_fast", "continue"),
    "--cache": ("on", "1h", "1d", "7d"),
}


class _Asked(Protocol):
    """What IPython tells a completer."""

    line: str
    symbol: str
    text_until_cursor: str


def complete_line(ip: InteractiveShell, asked: _Asked) -> list[str]:
    """Give what could stand at the cursor of a ``%%component`` or ``%twingraph`` line."""
    before = asked.text_until_cursor or asked.line
    words = before.split()
    fresh = before.endswith(" ")
    last = words[-1] if not fresh else ""
    previous = words[-1] if fresh else (words[-2] if len(words) > 1 else "")
    if words[0] == "%twingraph":
        return _starting(last, _command_words(previous))
    option, equals, value = last.partition("=")
    if equals and option in _VALUES:
        return [f"{option}={one}" for one in _starting(value, _VALUES[option])]
    if previous in _VALUES and not last.startswith("--"):
        return _starting(last, _VALUES[previous])
    if words[0] == "%%pipeline":
        return _starting(last, _spelled((*PIPELINE_OPTIONS, *COMPONENT_FLAGS)))
    return _starting(last, _spelled((*COMPONENT_OPTIONS, *COMPONENT_FLAGS)))


def _command_words(previous: str) -> tuple[str, ...]:
    if previous == "%twingraph":
        return COMMANDS
    if previous in ("show", "cancel", "pause", "resume", "answer", "diff"):
        from twingraph_nb.session import get_session  # only when runs are asked for

        return tuple(get_session().runs)
    return ("off",) if previous == "nest" else ()


def _spelled(options: Iterable[str]) -> list[str]:
    return [f"--{one.replace('_', '-')}" for one in options]


def _starting(begin: str, known: Iterable[str]) -> list[str]:
    return [one for one in known if one.startswith(begin)]
