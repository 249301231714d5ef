"""What the failures that a far side tells of are here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twingraph_nb.errors import (
    ExecutorError,
    PortabilityError,
    ResultError,
    TaskError,
    TwingraphError,
)
from twingraph_nb.executors.base import Job
from twingraph_nb.values import ValuesError

__all__ = ["error_for", "unreadable"]


def error_for(
    job: Job, platform: str, kind: str, what: str, failure: Mapping[str, Any]
) -> TwingraphError:
    """Give the error for a failure that is not the user's own exception.

    Args:
        kind: "exit", "result", "load", "payload" or "base", as `remote` says.
        what: the part to blame. failure: the exception as plain data.
    """
    if kind == "exit":
        return TaskError(
            f"{job.name} called sys.exit({what}): a component must return its result, "
            "or raise an exception to fail"
        )
    if kind == "result":
        return ResultError(
            f"{job.name} gave {what}, which cannot be pickled ({failure['message']}): "
            "return plain data, for example a dict, list, array or DataFrame, or a file's path"
        )
    if kind == "load":
        said = f"{failure['type']} when it was loaded in the worker: {failure['message']}"
        said = f"{job.component.source.where}: {said}"
        return PortabilityError(job.name, platform, [said])
    if kind == "payload":
        return ExecutorError(f"platform {platform!r}: {job.name}: {failure['message']}")
    return TaskError(f"{job.name} raised {failure['type']} {failure['message']}".rstrip())


def unreadable(job: Job, what: str, exc: Exception) -> ResultError:
    """Give the error about an answer that cannot be read."""
    said = f"the {what} of {job.name} cannot be read here ({type(exc).__name__}: {exc})"
    if not isinstance(exc, ValuesError):  # which says itself what to do
        said += ": its class must be defined in the notebook or in a module, not inside a function"
    made = ResultError(said)
    made.__cause__ = exc
    return made
