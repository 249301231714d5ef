"""What people did to runs and tasks, as facts: who asked, who answered, when and what."""

from __future__ import annotations

from collections.abc import Mapping

from twingraph_nb.events import (
    Answered,
    CancelAsked,
    Event,
    LimitChanged,
    RetryAsked,
    RunContinued,
    RunPaused,
)
from twingraph_nb.graph.summary import without_secrets
from twingraph_nb.lineage.changes import Changes
from twingraph_nb.lineage.redact import cut
from twingraph_nb.lineage.schema import PREVIEW

__all__ = ["DEEDS", "account", "deed", "person"]

_NOT_A_PERSON = frozenset(
    {"", "answers file", "body", "default", "pipeline", "run", "scheduler", "session"}
)
_THE_ACCOUNT = "user"
"""What an event says of somebody at the kernel itself."""

DEEDS: Mapping[type[Event], str] = {
    CancelAsked: "asked_to_cancel",
    RetryAsked: "asked_to_retry",
    RunPaused: "paused",
    RunContinued: "continued",
    LimitChanged: "changed_limit",
    Answered: "answered",
}
"""Event -> label of the edge from the person to the run or task."""


def account(origin: Mapping[str, str]) -> str:
    """Give whose account a run has: ``user@machine``; "" when that is not recorded."""
    user, host = origin.get("user", ""), origin.get("host", "")
    return f"{user}@{host}" if user and host else user


def person(name: str, to: Changes) -> str:
    """Add a person; gives the vertex's id."""
    return to.vertex(f"person:{name}", "Person", {"name": name})


def deed(event: Event, origin: Mapping[str, str], target: str, to: Changes) -> None:
    """Add what somebody did; nothing where it was no person."""
    who = str(getattr(event, "who", ""))
    name = account(origin) if who == _THE_ACCOUNT else who
    if name in _NOT_A_PERSON:
        return
    told: dict[str, object] = {"at": event.at}
    if isinstance(event, CancelAsked) and event.why:
        told["why"] = cut(event.why, PREVIEW)
    elif isinstance(event, Answered):
        told["text"] = without_secrets(cut(event.text, PREVIEW))
    elif isinstance(event, LimitChanged):
        told |= {"limit": event.limit, "name": event.name}
    to.edge(DEEDS[type(event)], person(name, to), target, f"{event.at:.6f}", properties=told)
