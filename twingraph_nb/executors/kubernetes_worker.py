"""One pod that works on jobs, as a pool of workers sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from twingraph_nb.executors.kubernetes_api import Cluster
from twingraph_nb.executors.kubernetes_pod import Pod
from twingraph_nb.executors.kubernetes_setup import Setup, job_name, python_launch
from twingraph_nb.executors.kubernetes_watch import PodWatch
from twingraph_nb.executors.native_far import Ears
from twingraph_nb.executors.rejoining import RejoiningWorker
from twingraph_nb.executors.stream_worker import room_of
from twingraph_nb.executors.worker import Ending, Worker
from twingraph_nb.wire import Message

__all__ = ["KubernetesWorker"]


class KubernetesWorker(RejoiningWorker):
    """A pod whose standard streams carry jobs; one that is kept outlives a connection.

    name: of its Job; one is made up if it is not given.
    """

    kind = "pod"

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        heard: Callable[[Worker, Message], None],
        ended: Callable[[Worker, Ending], None],
        *,
        cluster: Cluster,
        watch: PodWatch,
        setup: Setup,
        name: str = "",
    ) -> None:
        self._launch = python_launch(setup)
        self.single = not setup.warm
        self.checked = setup.keeps  # what another kernel sends must not pass for the rest of a part
        self.room = room_of(setup.memory) if setup.warm else 0
        ears = Ears(self.received, self.heard_error, self.flush, self.lost, self.tell)
        self._name = name or job_name(setup.component)
        self._pod = Pod(cluster, watch, setup, self._name, ears)
        super().__init__(loop, heard, ended)

    async def connect(self) -> None:
        await self._pod.start(self._launch)
        self.label = self._pod.label

    async def again(self, command: Sequence[str]) -> bool:
        return await self._pod.again(command)

    @property
    def whereabouts(self) -> Mapping[str, str]:
        return {"pod": self._name}

    def write(self, data: Sequence[memoryview]) -> int:
        return self._pod.write(data)

    async def kill(self, grace: float) -> None:
        await self._pod.remove(grace)

    async def cause(self) -> str:
        return await self._pod.cause(self.tail, worked=self.ready)
