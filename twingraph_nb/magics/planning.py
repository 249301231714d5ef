"""``%plan``, ``%twingraph run`` and ``diff``: what a run would do, a part of it, how two differ."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from itertools import zip_longest
from typing import cast

from IPython.core.interactiveshell import InteractiveShell

from twingraph_nb.component import Pipeline
from twingraph_nb.errors import RunError, TwingraphError
from twingraph_nb.graph.run import Run
from twingraph_nb.plan import Plan
from twingraph_nb.plan.diff import RunDiff, diff_of
from twingraph_nb.selection import Selection, read_selection
from twingraph_nb.session import get_session
from twingraph_nb.source.parsed import parse

__all__ = ["diff", "plan", "run", "selected"]

SELECTORS = {
    "--only": "only",
    "--to": "to",
    "--skip": "skip",
    "--force": "force",
    "--from": "from_",
}
"""The options of a line, and what they are called in Python."""

_OPTIONS = ("--resume", *SELECTORS)


def plan(shell: InteractiveShell, line: str) -> Plan:
    """Give the plan of the call that a ``%plan`` line writes down.

    Raises:
        TwingraphError: it is no call of a pipeline.
        Exception: what the arguments or the pipeline's function raise.
    """
    return cast(Plan, _called(shell, line, "plan", "%plan"))


def run(shell: InteractiveShell, line: str) -> Run:
    """Start the run that a ``%twingraph run`` line writes down; raises as `plan` does."""
    return cast(Run, _called(shell, line, "run", "%twingraph run"))


def _called(shell: InteractiveShell, line: str, method: str, magic: str) -> object:
    """What a method of a pipeline gives for a call and its options."""
    usage = f"{magic} wants a pipeline, as you would call it: {magic} census(folder='data')"
    text, options = _split(line, magic)
    try:
        call = parse(text, "eval").body
    except SyntaxError as exc:
        raise TwingraphError(f"{usage} ({exc.msg})") from None
    if not isinstance(call, ast.Call):
        call = ast.Call(call, [], [])
    made = shell.ev(ast.unparse(call.func))  # type: ignore[no-untyped-call]
    if not isinstance(made, Pipeline):
        raise TwingraphError(f"{usage}; {ast.unparse(call.func)} is a {type(made).__name__}")
    words = {SELECTORS.get(name, "resume"): value for name, value in options.items()}
    given = [*call.keywords, *(ast.keyword(k, ast.Constant(v)) for k, v in words.items())]
    asked = ast.Call(ast.Attribute(call.func, method, ast.Load()), call.args, given)
    return shell.ev(ast.unparse(asked))  # type: ignore[no-untyped-call]


def _split(line: str, magic: str) -> tuple[str, dict[str, str]]:
    """The call, and the options after it: ``name(...) --resume RUN --to A,B``."""
    options: dict[str, str] = {}
    rest = line.strip()
    while True:
        before, _, last = rest.rpartition(" --")
        name, _, value = f"--{last}".partition(" ")
        if not before or name not in _OPTIONS:
            return rest, options
        if not value.strip():
            raise TwingraphError(f"{magic}: {name} wants a value")
        more = f",{options[name]}" if name in options else ""
        options[name], rest = value.strip() + more, before.rstrip()


def selected(words: Sequence[str]) -> Selection:
    """Give what the options at the end of a line select: ``--to A,B --skip C``.

    Raises:
        TwingraphError: they are none.
    """
    given: dict[str, list[str]] = {}
    for name, value in zip_longest(words[::2], words[1::2]):
        if name not in SELECTORS or value is None:
            raise TwingraphError(f"{name!r} is not understood: {', '.join(SELECTORS)}, each NAMES")
        given.setdefault(SELECTORS[name], []).extend(value.split(","))
    return read_selection(given)


def diff(first: str, second: str) -> RunDiff:
    """Give how two recorded runs differ.

    Raises:
        RunError: one is not known, or nothing is recorded.
    """
    session = get_session()
    if session.store is None:
        raise RunError("this session is not recorded: there are no runs to compare")
    session.driver.flush_to_disk()
    return diff_of(session.store, first, second)
