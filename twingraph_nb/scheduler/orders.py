"""What may be asked of a run: cancel, pause, go on, retry, change a limit, answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from twingraph_nb.errors import suggestion
from twingraph_nb.events import CancelAsked, LimitChanged, RetryAsked, RunContinued, RunPaused
from twingraph_nb.limit import read_limits
from twingraph_nb.platform_choice import other_platforms
from twingraph_nb.platforms import PLATFORMS
from twingraph_nb.scheduler.answering import take_answer
from twingraph_nb.scheduler.live import LiveRun
from twingraph_nb.store.commands import Answer

if TYPE_CHECKING:
    from twingraph_nb.scheduler.drive import Driver

__all__ = ["obey"]

_FINAL = ("succeeded", "reused", "failed", "skipped", "cancelled")


def obey(driver: Driver, run: LiveRun, kind: str, facts: Mapping[str, object], who: str) -> Answer:
    """Do what is asked of a run, and say what became of it. On the scheduler's thread.

    Args:
        facts: the task's number, the limit; what the kind needs.
    """
    if run.finished is not None:
        return Answer(f"run {run.id} has ended", refused=True)
    act = _ACTS.get(kind)
    if act is None:
        return Answer(f"{kind!r} is none of {', '.join(_ACTS)}", refused=True)
    return act(driver, run, facts, who)


def _cancel(driver: Driver, run: LiveRun, facts: Mapping[str, object], who: str) -> Answer:
    number = cast("int | None", facts.get("task"))
    if number is not None:
        if (said := _over(run, number)) is not None:
            return said
        run.recalled.discard(number)
    driver.happen(run, CancelAsked(driver.now(), number, who, f"cancelled by {who}"))
    return Answer("cancelling" if run.finished is None else "cancelled")


def _pause(driver: Driver, run: LiveRun, facts: Mapping[str, object], who: str) -> Answer:
    if run.state.paused:
        return Answer("it is paused already")
    driver.happen(run, RunPaused(driver.now(), who))
    driver.attempts.hold(run)
    running = sum(run.state.state_of(number) == "running" for number in run.running)
    return Answer(f"paused; {running} running tasks are let finish")


def _continue(driver: Driver, run: LiveRun, facts: Mapping[str, object], who: str) -> Answer:
    if not run.state.paused:
        return Answer("it is not paused", refused=True)
    driver.happen(run, RunContinued(driver.now(), who))
    held, run.held = run.held, {}
    for number, attempt in held.items():
        if run.state.state_of(number) == "ready":
            driver.attempts.launch(run, number, attempt)
    return Answer(f"goes on, with {len(held)} tasks that were ready")


def _retry(driver: Driver, run: LiveRun, facts: Mapping[str, object], who: str) -> Answer:
    number = cast(int, facts["task"])
    if (said := _over(run, number)) is not None:
        return said
    state = run.state.state_of(number)
    if state == "retrying":
        driver.happen(run, RetryAsked(driver.now(), number, who))
        return Answer("its next attempt begins")
    task = run.open.get(number)
    if state != "running" or task is None or task.form != "call":
        return Answer(f"it is {state}: there is no attempt to begin anew", refused=True)
    driver.happen(run, RetryAsked(driver.now(), number, who))
    driver.attempts.take_back(run, number)
    return Answer("its attempt is ended, and begins anew")


def _limit(driver: Driver, run: LiveRun, facts: Mapping[str, object], who: str) -> Answer:
    if "named" in facts:
        return _named(driver, run, str(facts["named"]), who)
    limit, name = cast(int, facts["limit"]), str(facts.get("name") or "")
    if name and (said := _no_places(name)):
        return Answer(said, refused=True)
    driver.happen(run, LimitChanged(driver.now(), limit, name, who))
    if not name:
        run.options = replace(run.options, max_parallel=limit)
    driver.attempts.limit(run, name, limit)
    return Answer(f"at most {limit} at once" if limit else "no limit")


def _named(driver: Driver, run: LiveRun, text: str, who: str) -> Answer:
    """Change a limit by name, such as ``openai:30/min``."""
    try:
        (limit,) = read_limits(text)
    except ValueError as exc:
        return Answer(f"the limit {text!r} {exc}", refused=True)
    if said := driver.attempts.change(limit):
        return Answer(said, refused=True)
    driver.happen(run, LimitChanged(driver.now(), limit.most, str(limit), who))
    return Answer(f"{limit} from now on, for all runs of its session")


def _no_places(platform: str) -> str:
    """Why a platform has no places to be limited, or ""."""
    known = [*PLATFORMS, *other_platforms()]
    if platform not in known:
        return f"there is no platform {platform!r}{suggestion(platform, known)}"
    if platform == "local":
        return "tasks on 'local' take no places there: limit the run, without a platform"
    return ""


def _answer(driver: Driver, run: LiveRun, facts: Mapping[str, object], who: str) -> Answer:
    return take_answer(run, facts, who)


def _over(run: LiveRun, number: int) -> Answer | None:
    state = run.state.state_of(number)
    if number not in run.open or state in _FINAL:
        text = f"the task has ended ({state}); resume the run to do again what failed"
        return Answer(text, refused=True)
    return None


_Act = Callable[["Driver", LiveRun, Mapping[str, object], str], Answer]
_ACTS: Mapping[str, _Act] = {
    "cancel": _cancel,
    "pause": _pause,
    "continue": _continue,
    "retry": _retry,
    "limit": _limit,
    "answer": _answer,
}
