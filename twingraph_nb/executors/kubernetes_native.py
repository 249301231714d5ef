"""Components in other languages on platform `kubernetes`: their pods, as their workers see them.

The files of a component go to a pod's standard input, which its shell writes to disk: no shared
disk, no size that an object of the cluster may have, nothing of it in a description.
"""

from __future__ import annotations

import asyncio
import functools
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import ClassVar

from twingraph_nb.component import Component
from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.kubernetes_api import Cluster
from twingraph_nb.executors.kubernetes_pod import Pod
from twingraph_nb.executors.kubernetes_setup import Launch, Setup, job_name, ticket_facts
from twingraph_nb.executors.kubernetes_watch import PodWatch
from twingraph_nb.executors.native_far import Ears, End, Lacking
from twingraph_nb.executors.native_program import Program, lacking
from twingraph_nb.executors.recalled import Engine
from twingraph_nb.languages import Built

__all__ = ["PodHome", "PodVessel"]

_ENDS = 60.0  # seconds for the watch to say how a pod ended that has nothing to do but that


class PodHome:
    """Pods of one setup; see `Home`.

    name: of the only Job, for a component whose pods do not stay.
    """

    platform: ClassVar[str] = "kubernetes"
    kind: ClassVar[str] = "pod"
    brings: ClassVar[bool] = True

    def __init__(
        self,
        cluster: Cluster,
        watch: PodWatch,
        setup: Setup,
        component: Component,
        *,
        size: int,
        name: str,
    ) -> None:
        self._cluster, self._watch, self._setup = cluster, watch, setup
        self._component, self._name = component, name
        self.image, self.idle = setup.image, setup.idle
        self.workers = (setup.workers or size) if setup.warm else 1
        self.single = not setup.warm
        self.stock = setup.key
        self.key = setup.key if setup.warm else f"{name} {setup.key}"
        self.linger = setup.linger
        self.which: Callable[[], Awaitable[Engine]] = cluster.which
        self.facts: Mapping[str, object] = ticket_facts(setup)

    def vessel(self, built: Built) -> PodVessel:
        setup = self._setup
        name = job_name(setup.component) if setup.warm else self._name
        return PodVessel(self._cluster, self._watch, setup, name)

    async def has(self, program: str) -> bool:
        over = asyncio.Event()
        ears = Ears(_unheard, _unheard, over.set, over.set, _unheard)
        name = job_name(self._setup.component)
        pod = Pod(self._cluster, self._watch, self._setup, name, ears)
        # It stays until it is asked, so that it can be reached.
        script = f"read -r line; command -v {shlex.quote(program)} >/dev/null"
        try:
            await pod.start(_launch(["sh", "-c", script], {}, self._component, self.image))
            pod.write([memoryview(b"\n")])
            await over.wait()
            said = await pod.cause("", worked=True, patience=_ENDS)
            if pod.code is None:
                raise ExecutorError(f"the pod {said}")
            return pod.code == 0
        finally:
            await pod.remove(0.0)


class PodVessel:
    """A pod, as a worker of another language sees it; see `Vessel`."""

    def __init__(self, cluster: Cluster, watch: PodWatch, setup: Setup, name: str) -> None:
        self._pod: Pod | None = None
        self._made = functools.partial(Pod, cluster, watch, setup, name)
        self.image = setup.image

    @property
    def label(self) -> str:
        return self._pod.label if self._pod is not None else ""

    async def start(self, program: Program, environ: dict[str, str], ears: Ears) -> None:
        self._pod = self._made(ears)
        launch = _launch(program.command, environ, program.component, self.image)
        try:
            await self._pod.start(launch)
        except ExecutorError as exc:
            if self._pod.lacks:
                raise Lacking(program.command[0]) from exc
            raise

    def write(self, data: memoryview) -> int:
        if self._pod is None:
            raise BrokenPipeError
        return self._pod.write([data])

    def hush(self) -> None:
        if self._pod is not None:
            self._pod.disconnect()

    async def end(self, last_words: str, *, worked: bool) -> End:
        assert self._pod is not None
        cause = await self._pod.cause(last_words, worked=worked)
        return End(self._pod.code, cause)

    @property
    def whereabouts(self) -> dict[str, str]:
        return {"pod": self._pod.name if self._pod is not None else ""}

    async def mark(self, kept: bool) -> None:
        if self._pod is not None:
            await self._pod.mark(kept)

    async def remove(self) -> None:
        if self._pod is not None:
            await self._pod.remove(0.0)


def _launch(
    command: Sequence[str], environ: Mapping[str, str], component: Component, image: str
) -> Launch:
    lacks = lacking(component, image, command[0])
    return Launch(command, environ, lambda _: lacks)


def _unheard(*heard: object) -> None:
    """Nobody listens."""
