"""One watch for all pods of this kernel in a namespace: a change is told to who follows the pod."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.kubernetes_api import Cluster, Failed, Gone, lines
from twingraph_nb.executors.kubernetes_setup import NAME
from twingraph_nb.executors.owner import POD_OWNER, owner_label

__all__ = ["DELETED", "PodWatch"]

DELETED = "DELETED"
"""What has happened to a pod that is gone; everything else is a state it is in."""

Listener = Callable[[str, Mapping[str, Any]], None]

_WAIT, _LONGEST = 0.2, 10.0  # seconds between attempts to reach a server that fails
_GONE = 410  # a version of the list that the server has forgotten


class PodWatch:
    """Hears of all pods that carry a kernel's label, in a thread of its own.

    owner: the label; "" for that of this kernel. trouble: why it hears nothing at the moment, "" if
    it does.
    """

    def __init__(self, cluster: Cluster, namespace: str, owner: str = "") -> None:
        self._cluster, self._namespace = cluster, namespace
        self._loop = asyncio.get_running_loop()
        self._selector = f"{POD_OWNER}={owner or owner_label()}"
        self._listeners: dict[str, Listener] = {}
        self._known: dict[str, Mapping[str, Any]] = {}  # by uid; of the thread
        self._answer: Any = None
        self._closed = False
        self.trouble = ""
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(
            target=self._watch, name="twingraph-kubernetes-watch", daemon=True
        )
        self._thread.start()

    async def ready(self) -> None:
        """Return when it hears.

        Raises:
            ExecutorError: this user may not watch pods, or there is no such namespace.
        """
        await asyncio.shield(self._ready)

    def follow(self, name: str, listener: Listener) -> None:
        """Tell `listener` on the loop what happens to the pods of that name's Job."""
        self._listeners[name] = listener
        for pod in tuple(self._known.values()):  # those of a kernel that has died
            self._loop.call_soon(self._hear, "ADDED", pod)

    def forget(self, name: str) -> None:
        """Tell no more about it."""
        self._listeners.pop(name, None)

    def close(self) -> None:
        """End the watch. Its thread ends soon after."""
        self._closed = True
        self._cut()

    # -- on the loop ---------------------------------------------------------------------------

    def _hear(self, what: str, pod: Mapping[str, Any]) -> None:
        labels = pod.get("metadata", {}).get("labels") or {}
        listener = self._listeners.get(labels.get(NAME, ""))
        if listener is not None:
            listener(what, pod)

    def _started(self, trouble: Exception | None) -> None:
        if self._ready.done():
            return
        if trouble is None:
            self._ready.set_result(None)
            return
        if not isinstance(trouble, ExecutorError):
            trouble = ExecutorError(f"pods cannot be watched: {trouble!r}")
        self._ready.set_exception(trouble)
        self._ready.exception()  # it may be that nobody asks

    # -- in the thread -------------------------------------------------------------------------

    def _watch(self) -> None:
        wait = _WAIT
        version = ""
        while not self._closed:
            try:
                if not version:
                    version = self._relist()
                version = self._follow(version)
                wait, self.trouble = _WAIT, ""
            except Gone:
                version = ""
            except Exception as exc:  # whatever breaks a stream: the next list puts it right
                self.trouble, version = str(exc) or type(exc).__name__, ""
                # The first refusal is an answer; later on the server may be restarting.
                self._post(self._started, exc)
                wait = self._pause(wait)

    def _pause(self, wait: float) -> float:
        threading.Event().wait(wait * random.uniform(0.5, 1.0))
        return min(2 * wait, _LONGEST)

    def _relist(self) -> str:
        """Learn how all pods are, also which have gone while nobody listened."""
        found = self._cluster.listed(self._namespace, self._selector)
        now = {one["metadata"]["uid"]: one for one in found.get("items") or ()}
        for uid in self._known.keys() - now.keys():
            self._tell(DELETED, self._known[uid])
        for pod in now.values():
            self._tell("ADDED", pod)
        return str(found["metadata"]["resourceVersion"])

    def _follow(self, version: str) -> str:
        """Hear of changes until the server ends the stream; gives the version to go on from."""
        answer = self._cluster.watched(self._namespace, self._selector, version)
        self._answer = answer
        try:
            self._post(self._started, None)
            for line in lines(answer):
                if self._closed:
                    break
                if line.strip():
                    version = self._line(json.loads(line), version)
        finally:
            self._answer = None
            answer.close()
        return version

    def _line(self, event: Mapping[str, Any], version: str) -> str:
        what, thing = str(event["type"]), event["object"]
        if what == "ERROR":
            if thing.get("code") == _GONE:
                raise Gone("the list has moved on", _GONE)
            raise Failed(str(thing.get("message", "")), int(thing.get("code") or 0))
        if what != "BOOKMARK":
            self._tell(what, thing)
        return str(thing["metadata"]["resourceVersion"] or version)

    def _tell(self, what: str, pod: Mapping[str, Any]) -> None:
        uid = pod["metadata"]["uid"]
        if what == DELETED:
            self._known.pop(uid, None)
        else:
            self._known[uid] = pod
        self._post(self._hear, what, pod)

    def _post(self, call: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:  # the loop is closed: nobody is left to hear
            self._closed = True

    def _cut(self) -> None:
        """End a read that waits for the next change."""
        connection = getattr(self._answer, "connection", None)
        sock = getattr(connection, "sock", None)
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has just ended by itself
