"""What has become of a pod, read from its status: the sentence to tell, and if there is hope."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any, NamedTuple

from twingraph_nb.executors.kubernetes_setup import PYTHON, Launch

__all__ = ["Story", "is_active", "story_of"]

_HOPELESS = {"InvalidImageName", "ErrImageNeverPull"}
_PULL = {"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError"}
_QUIET = {"ContainerCreating", "PodInitializing", ""}
_MISSING = ("executable file not found", "no such file or directory")
_ENDED = {
    "Evicted": "was evicted by its node: {message}",
    "DeadlineExceeded": "was active for longer than its deadline (activeDeadlineSeconds)",
    "NodeLost": "was on a node that is lost: {message}",
    "Preempting": "had to make room for another pod: {message}",
    "Shutdown": "was on a node that was shut down: {message}",
    "NodeShutdown": "was on a node that was shut down: {message}",
    "Terminated": "was on a node that was shut down: {message}",
}
"""The reason of a pod that has failed, and the rest of a sentence about it."""


class Story(NamedTuple):
    """Where a pod stands.

    running: its worker runs. ended: the rest of a sentence about how, "" while it has not.
    trouble: why it does not start, "" if all is well. hopeless: waiting will not mend that.
    failing: waiting seldom mends it; else a pod may wait as long as it takes. again: it is only
    said that the same is tried again, what was said before tells more. code: its exit code.
    lacks: its image does not have what it is to run.
    """

    running: bool = False
    ended: str = ""
    trouble: str = ""
    hopeless: bool = False
    failing: bool = False
    again: bool = False
    code: int | None = None
    lacks: bool = False


def story_of(
    pod: Mapping[str, Any], container: str, memory: int = 0, launch: Launch = PYTHON
) -> Story:
    """Give where a pod stands.

    Args:
        pod: as the API gives it. container: the one that works. memory: its limit in bytes.
        launch: what it runs.
    """
    status = pod.get("status") or {}
    found = [one for one in status.get("containerStatuses") or () if one.get("name") == container]
    state = dict((found[0].get("state") if found else None) or {})
    done = state.get("terminated")
    if done or status.get("phase") in ("Failed", "Succeeded"):
        return _over(status, done or {}, memory, launch)
    if pod.get("metadata", {}).get("deletionTimestamp"):
        return Story(ended=_deleted(status))
    if state.get("running"):
        return Story(running=True)
    before = status.get("initContainerStatuses") or ()
    for one in (*found, *before):
        waiting = (one.get("state") or {}).get("waiting") or {}
        if waiting.get("reason", "") not in _QUIET:
            return _waiting(str(one.get("image", "")), waiting, launch)
    return _placed(status)


def is_active(pod: Mapping[str, Any]) -> bool:
    """True while a container of the pod runs."""
    status = pod.get("status") or {}
    if status.get("phase") in ("Failed", "Succeeded"):
        return False  # what is said of its containers may be from before
    found = (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ()))
    return any("running" in (one.get("state") or {}) for one in found)


def _placed(status: Mapping[str, Any]) -> Story:
    """A pod that waits for a node, or has just got one."""
    for one in status.get("conditions") or ():
        if one.get("type") == "PodScheduled" and one.get("status") == "False":
            why = str(one.get("message") or one.get("reason") or "").rstrip(".")
            return Story(trouble=f"no node can take the pod: {why}")
    return Story()


def _waiting(image: str, waiting: Mapping[str, Any], launch: Launch) -> Story:
    reason = str(waiting["reason"])
    message = str(waiting.get("message") or reason).strip().rstrip(".")
    if _is_missing(launch.command[0], message):
        return Story(trouble=launch.lacks(f"image {image!r}"), hopeless=True, lacks=True)
    if reason == "InvalidImageName":
        said = f"image {image!r} is no name of an image: {message}"
    elif reason == "ErrImageNeverPull":
        said = f"image {image!r} is not on the node, and image_pull_policy='Never' forbids to pull"
    elif reason in _PULL:
        said = f"image {image!r} cannot be pulled ({reason}: {message})"
    elif reason == "CrashLoopBackOff":
        said = f"a container of image {image!r} ends again and again (CrashLoopBackOff: {message})"
    else:
        said = f"the container cannot be started ({reason}: {message})"
    again = reason.endswith("BackOff")
    return Story(trouble=said, hopeless=reason in _HOPELESS, failing=True, again=again)


def _over(status: Mapping[str, Any], done: Mapping[str, Any], memory: int, launch: Launch) -> Story:
    reason = str(status.get("reason") or "")
    message = str(status.get("message") or "").strip().rstrip(".")
    disrupted = _disruption(status)
    if disrupted:
        return Story(ended=disrupted)
    if reason:
        return Story(ended=f"was refused by its node ({reason}): {message or reason}")
    why = str(done.get("reason") or "")
    said = str(done.get("message") or "").strip()
    if not done:
        return Story(ended=_first_failed(status) or "ended without a word of its node")
    if why == "OOMKilled":
        limit = f"{memory / 2**20:,.0f} MiB" if memory else "that of its node"
        return Story(ended=f"ran out of memory (the limit is {limit}); give it more with memory=")
    if _is_missing(launch.command[0], said):
        lacks = launch.lacks("its image")
        return Story(ended=f"did not start: {lacks}", trouble=lacks, lacks=True)
    code = int(done.get("exitCode") or 0)
    return Story(ended=_exit(code, said), code=code)


def _first_failed(status: Mapping[str, Any]) -> str:
    """Which container of a pod has failed before its worker was started, "" if none has."""
    for one in status.get("initContainerStatuses") or ():
        for state in (one.get("state") or {}, one.get("lastState") or {}):
            done = state.get("terminated") or {}
            if done.get("exitCode"):
                how = _exit(int(done["exitCode"]), str(done.get("message") or "").strip())
                return f"was given up: its init container {one.get('name')!r} {how}"
    return ""


def _exit(code: int, said: str) -> str:
    more = f": {said}" if said else ""
    if code > 128:
        try:
            return f"was killed by signal {signal.Signals(code - 128).name}{more}"
        except ValueError:
            pass
    return f"ended with exit code {code}{more}"


def _deleted(status: Mapping[str, Any]) -> str:
    # A Job deletes its pod when what it restarts fails again.
    return _disruption(status) or _first_failed(status) or "was deleted by somebody else"


def _disruption(status: Mapping[str, Any]) -> str:
    """Why the cluster has put an end to the pod, "" if it has not or does not say."""
    reason = str(status.get("reason") or "")
    if reason in _ENDED:
        message = str(status.get("message") or "").strip().rstrip(".")
        return _ENDED[reason].format(message=message or reason)
    for one in status.get("conditions") or ():
        if one.get("type") == "DisruptionTarget" and one.get("status") == "True":
            said = str(one.get("message") or one.get("reason") or "").rstrip(".")
            return f"was ended by the cluster: {said}"
    return ""


def _is_missing(program: str, message: str) -> bool:
    return program in message and any(one in message for one in _MISSING)
