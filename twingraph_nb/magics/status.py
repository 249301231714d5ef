"""What ``%twingraph`` answers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell

from twingraph_nb.clock import clock
from twingraph_nb.component import shelf
from twingraph_nb.errors import RunError, TwingraphError, suggestion
from twingraph_nb.graph.run import Run
from twingraph_nb.magics import nest, planning
from twingraph_nb.magics.shown import Shown, table
from twingraph_nb.picture.collapse import drawing
from twingraph_nb.picture.progress import progress_line, seconds_text
from twingraph_nb.picture.screen import screen_of
from twingraph_nb.picture.svg import img_tag, render
from twingraph_nb.picture.text import text_view
from twingraph_nb.plan.diff import RunDiff
from twingraph_nb.platforms import PLATFORMS
from twingraph_nb.runs import answers
from twingraph_nb.runs.control import person
from twingraph_nb.session import Session, get_session
from twingraph_nb.views.card import policy_words

__all__ = ["COMMANDS", "answer"]

_LISTED = 20
"""Runs that a listing shows."""


def answer(shell: InteractiveShell, line: str) -> object:
    """Give what a ``%twingraph`` line asks for, ready to be shown.

    Args:
        shell: whose names a ``run`` line uses.
    Raises:
        TwingraphError: no such command, or it wants something else.
        RunError: no such run.
    """
    words = line.split() or ["status"]
    command, rest = words[0], words[1:]
    if command == "run":
        return planning.run(shell, line.strip()[len(command) :])
    if command not in COMMANDS:
        known = ["run", *COMMANDS]
        raise TwingraphError(
            f"%twingraph has no command {command!r}{suggestion(command, known)}; "
            f"it has {', '.join(known)}"
        )
    return COMMANDS[command](rest)


def _status(rest: Sequence[str]) -> Shown:
    _nothing_after("status", rest)
    session = get_session()
    running = [run for run in session.runs.values() if not run.done]
    store = session.store
    recorded = f"in {session.settings.home}" if store else "no"
    if session.troubles:
        recorded = session.troubles[-1]
    rows: list[tuple[object, ...]] = [
        ("recorded", recorded),
        ("components", len(shelf.components)),
        ("pipelines", len(shelf.pipelines)),
        ("platforms", ", ".join(sorted(PLATFORMS))),
        ("memory", _memory()),
    ]
    if session.remote is not None:
        rows.append(("lineage", session.remote.status))
    rows += [("running", _one_line(session, run)) for run in running]
    return table(("session", ""), rows)


def _memory() -> str:
    """What this process holds now, with all its runs and the user's own values."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return "not known on this system"
    return f"{pages * os.sysconf('SC_PAGE_SIZE') / 2**20:,.0f} MiB"


def _runs(rest: Sequence[str]) -> Shown:
    _nothing_after("runs", rest)
    session = get_session()
    head = ("run", "name", "state", "tasks", "failed", "started", "took")
    rows: list[tuple[object, ...]]
    if session.store is None:
        rows = [
            (r.id, r.name, r.state, r.tasks.total, "", _clock(r.started), _took(r))
            for r in reversed(list(session.runs.values())[-_LISTED:])
        ]
    else:
        session.store.flush()
        rows = [
            (
                r.id,
                r.name,
                r.state,
                r.tasks,
                r.failed or "",
                _clock(r.started),
                seconds_text(r.seconds),
            )
            for r in session.store.runs(limit=_LISTED)
        ]
    return table(head, rows, empty="no runs yet: call a component or a pipeline")


def _show(rest: Sequence[str]) -> object:
    session = get_session()
    run_id = _resolve(session, _one("show", rest))
    if run_id in session.runs:
        return session.runs[run_id]
    screen = screen_of(session.history(run_id))
    now = clock()
    picture = img_tag(render(drawing(screen)), alt=f"graph of run {run_id}")
    html = f"<div>{progress_line(screen, now)}</div>{picture}"
    return Shown(text_view(screen, now), html)


def _cancel(rest: Sequence[str]) -> Shown:
    session = get_session()
    run_id = _resolve(session, _one("cancel", rest))
    if run_id not in session.runs:
        raise RunError(f"run {run_id} does not run in this session: `!twingraph cancel {run_id}`")
    run = session.cancel(run_id)
    return _said(f"asked run {run.id} ({run.name}) to stop")


def _resume(rest: Sequence[str]) -> object:
    session = get_session()
    run_id = _resolve(session, _one("resume", rest[:1]))
    chosen = planning.selected(rest[1:])
    live = session.runs.get(run_id)
    if live is not None and not live.done:
        if chosen:
            raise RunError(f"run {run_id} goes on: what it runs was chosen when it began")
        live.unpause()
        return _said(f"run {run_id} ({live.name}) goes on")
    return session.resume(run_id, chosen)


def _pause(rest: Sequence[str]) -> Shown:
    session = get_session()
    run_id = _resolve(session, _one("pause", rest))
    live = session.runs.get(run_id)
    if live is None or live.done:
        raise RunError(f"run {run_id} does not run in this session: `!twingraph pause {run_id}`")
    live.pause()
    return _said(f"run {run_id} ({live.name}) begins no further task; what runs is let finish")


def _diff(rest: Sequence[str]) -> RunDiff:
    if len(rest) != 2:
        raise TwingraphError("%twingraph diff wants two runs: %twingraph diff RUN RUN")
    session = get_session()
    return planning.diff(*[_resolve(session, one) for one in rest])


def _answer(rest: Sequence[str]) -> Shown:
    if not rest:
        raise TwingraphError("%twingraph answer wants RUN [TASK] VALUE; without VALUE it lists")
    session = get_session()
    run_id, words = _resolve(session, rest[0]), list(rest[1:])
    store = session.store
    if store is None:
        return _said(session.runs[run_id].answer(" ".join(words)))
    session.driver.flush_to_disk()
    asked = answers.questions(store, run_id)
    if not words:
        rows: list[tuple[object, ...]] = [
            (one.run.id, one.told.name, one.told.asked.prompt, one.question.wanted)
            for one in asked
            if one.waits
        ]
        return table(("run", "task", "asks", "wants"), rows, empty="nothing is asked")
    names = {name for one in asked for name in (one.told.name, str(one.task))}
    named = words.pop(0) if len(words) > 1 and words[0] in names else None
    one = answers.chosen(asked, named, run_id)
    said = answers.answer(store, one, " ".join(words), person())
    if said.refused:
        raise RunError(f"run {one.run.id}: {said.text}")
    return _said(said.text)


def _said(text: str) -> Shown:
    return Shown(text, text)


def _components(rest: Sequence[str]) -> Shown:
    _nothing_after("components", rest)
    head = ("name", "ports", "platform", "policy", "version", "digest", "from")
    rows: list[tuple[object, ...]] = [
        (
            c.name,
            c.signature,
            c.platform,
            ", ".join(policy_words(c.policy)),
            f"v{c.version}",
            c.digest[:12],
            c.source.where,
        )
        for c in shelf.components.values()
    ]
    for p in shelf.pipelines.values():
        ports = f"({', '.join(map(str, p.inputs))})"
        rows.append((p.name, ports, "pipeline", "", "", p.source.digest[:12], p.source.where))
    return table(head, rows, empty="no components yet: put %%component on top of a cell")


def _platforms(rest: Sequence[str]) -> Shown:
    _nothing_after("platforms", rest)
    rows: list[tuple[object, ...]] = []
    for name, (condition, running) in get_session().platforms().items():
        about = PLATFORMS[name].about if name in PLATFORMS else "of another package"
        rows.append((name, condition.state, running or "", condition.detail or about))
    return table(("platform", "", "running", "about"), rows)


def _lineage(rest: Sequence[str]) -> Shown:
    words = [word for word in rest if word != "--all"]
    if len(words) > 1 or (len(words) < len(rest) and words in ([], ["off"])):
        raise TwingraphError(
            "%twingraph lineage takes a URL, and --all for all earlier runs; or off"
        )
    session = get_session()
    if words:
        session.send_lineage("" if words == ["off"] else words[0], everything="--all" in rest)
    if session.remote is None:
        return _said("the graph is kept here only; %twingraph lineage ws://HOST:8182/gremlin")
    return _said(str(session.remote.status))


def _nest(rest: Sequence[str]) -> Shown:
    if rest and rest != ["off"]:
        raise TwingraphError("%twingraph nest takes nothing, or `off`")
    if rest:
        nest.restore()
        said = "asyncio.run is Python's own again"
    else:
        nest.apply()
        said = (
            "asyncio.run(...) now works in cells: the coroutine gets a loop and a thread of its "
            "own while the cell waits. nest_asyncio is not used: with several cells queued it "
            "leaves the later ones undone."
        )
    return Shown(said, said)


COMMANDS: dict[str, Callable[[Sequence[str]], object]] = {
    "status": _status,
    "runs": _runs,
    "show": _show,
    "cancel": _cancel,
    "resume": _resume,
    "pause": _pause,
    "answer": _answer,
    "diff": _diff,
    "components": _components,
    "platforms": _platforms,
    "lineage": _lineage,
    "nest": _nest,
}
"""What ``%twingraph`` can do, besides ``run``."""


def _nothing_after(command: str, rest: Sequence[str]) -> None:
    if rest:
        raise TwingraphError(f"%twingraph {command} takes nothing more, not {' '.join(rest)!r}")


def _one(command: str, rest: Sequence[str]) -> str:
    if len(rest) != 1:
        raise TwingraphError(
            f"%twingraph {command} wants one run: its id, the beginning of it, its name, or `last`"
        )
    return rest[0]


def _resolve(session: Session, text: str) -> str:
    """The id of the run that is meant: of this session first, then of the store."""
    own = session.runs
    if text == "last" and own:
        return list(own)[-1]
    found = [r.id for r in own.values() if r.id.startswith(text)]
    found = found or [r.id for r in own.values() if r.name == text][-1:]
    if len(found) == 1:
        return found[0]
    if session.store is not None:
        session.store.flush()
        return session.store.resolve(text)
    known = ", ".join(own) or "none"
    raise RunError(f"no run has the id {text!r}; there are: {known}")


def _one_line(session: Session, run: Run) -> str:
    screen = screen_of(session.history(run.id))
    return f"{run.name} {run.id}: {progress_line(screen, clock())}"


def _took(run: Run) -> str:
    return seconds_text((run.finished or clock()) - run.started)


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
