"""The line that says how far a run is, and times as people write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from twingraph_nb.picture.model import FINAL, STATES, Screen

__all__ = ["counters", "done_share", "estimate", "progress_line", "seconds_text"]

_SHORTEST_ESTIMATE: Final = 1.0
"""Seconds; less than this is not worth saying."""


def seconds_text(seconds: float) -> str:
    """Give a duration as a person would write it: ``340 ms``, ``1.2 s``, ``2 min 05 s``."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def counters(screen: Screen, only: Iterable[int] | None = None) -> dict[str, int]:
    """Give how many plain calls are in each state; of the tasks `only` if given."""
    if only is None:
        return dict(screen.counts)
    counts: dict[str, int] = dict.fromkeys(STATES, 0)
    for number in only:
        task = screen.tasks[number]
        if task.form == "call":
            counts[task.state] += 1
    return counts


def done_share(screen: Screen, only: Iterable[int] | None = None) -> float:
    """Give the share of plain calls that are finished, in [0, 1]."""
    counts = counters(screen, only)
    total = sum(counts.values())
    return sum(counts[state] for state in FINAL) / total if total else 0.0


def estimate(screen: Screen, now: float) -> float | None:
    """Guess how many seconds the run will still take; None if there is nothing to go by.

    The tasks that are open take as long as those of the same component took on average, as many
    at a time as so far.
    """
    if screen.over or screen.first_start is None:
        return None
    left = 0.0
    for part in screen.parts.values():
        if part.open:
            if not part.timed:
                return None
            left += part.open * part.seconds / part.timed
    passed = now - screen.first_start
    if not left or passed <= 0 or not screen.busy:
        return None
    at_once = max(1.0, screen.busy / passed)
    return left / at_once


def progress_line(screen: Screen, now: float, only: Iterable[int] | None = None) -> str:
    """Say how far the run is: done of total, what runs and failed, elapsed, and an estimate.

    Args:
        now: seconds since the epoch.
        only: speak of these tasks alone.
    """
    counts = counters(screen, only)
    total = sum(counts.values())
    said = [f"{counts['succeeded'] + counts['reused']}/{total} done" if total else "no tasks yet"]
    for state in ("reused", "running", "retrying", "failed", "skipped", "cancelled"):
        if counts[state]:
            said.append(f"{counts[state]} {state}")
    elapsed = _elapsed(screen, now, only)
    if elapsed is not None:
        said.append(seconds_text(elapsed))
    rest = estimate(screen, now) if only is None else None
    if rest is not None and rest >= _SHORTEST_ESTIMATE:
        said.append(f"about {seconds_text(rest)} left")
    said += [text for text in (screen.selected, screen.note) if text]
    return " · ".join(said)


def _elapsed(screen: Screen, now: float, only: Iterable[int] | None) -> float | None:
    if only is None:
        if screen.started is None:
            return None
        return max(0.0, (now if screen.finished is None else screen.finished) - screen.started)
    shown = [screen.tasks[number] for number in only]
    starts = [task.started for task in shown if task.started is not None]
    if not starts:
        return None
    if all(task.final for task in shown):
        return max(0.0, max(t.finished for t in shown if t.finished is not None) - min(starts))
    return max(0.0, now - min(starts))
