"""One pod: made by a Job of its own, reached over its standard streams, and ended."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.kubernetes_api import PASSING, Cluster, Failed, Gone
from twingraph_nb.executors.kubernetes_setup import CONTAINER, NAME, Launch, Setup, job_body
from twingraph_nb.executors.kubernetes_story import Story, is_active, story_of
from twingraph_nb.executors.kubernetes_stream import Channels
from twingraph_nb.executors.kubernetes_watch import DELETED, PodWatch
from twingraph_nb.executors.native_far import Ears
from twingraph_nb.executors.owner import KEPT

__all__ = ["Pod"]

_UNSEEN = 3.0  # seconds without a pod after which the Job is asked why
_QUIET = 20  # of these without news, and the cluster is asked whether it is there
_TELLS = 15.0  # seconds for the watch to say how a pod ended whose streams did
_NEWS = 5.0  # seconds for streams to end after their pod, and for what else a watch says
_LEAVING = 30.0  # seconds for a pod to go before it is forced to
_SOON = 0.5  # seconds before each attempt to reach a cluster again


class Pod:
    """A pod and the streams of the one container in it that works.

    name: of its Job. ears: who hears of it. label: what to call it, "" until it is reached.
    """

    def __init__(
        self, cluster: Cluster, watch: PodWatch, setup: Setup, name: str, ears: Ears
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._cluster, self._watch, self._setup = cluster, watch, setup
        self._space, self.name, self._ears = setup.namespace, name, ears
        self.label = ""
        self._launch: Launch
        self._command: Sequence[str] = ()
        self._made = self._found = False
        self._pod = self._uid = ""
        self._pods: dict[str, bool] = {}  # those that are not gone: name -> something runs in it
        self._story = Story()
        self._said = ""
        self._news = asyncio.Event()
        self._patience: asyncio.TimerHandle | None = None
        self._hopeless = ""
        self._channels: Channels | None = None
        self._killing = False

    @property
    def code(self) -> int | None:
        """The exit code of what ran in it, as far as it is known."""
        return self._story.code

    @property
    def over(self) -> bool:
        """True if it is known to have ended."""
        return bool(self._story.ended)

    @property
    def lacks(self) -> bool:
        """True if its image does not have the program that it was to start."""
        return self._story.lacks

    async def start(self, launch: Launch) -> None:
        """Make it, wait until it runs, and reach its streams.

        Raises:
            ExecutorError: it cannot be made, or never will run.
        """
        self._launch = launch
        await self._watch.ready()
        self._watch.follow(self.name, self._changed)
        body = job_body(self._setup, self.name, launch)
        await self._patiently(lambda: self._create(body))
        await self._reach()

    async def rejoin(self, launch: Launch, command: Sequence[str] = ()) -> None:
        """Find the one that a kernel which died has made, and reach its streams, or those of a
        command beside them.

        Raises:
            ExecutorError: it is over, or cannot be reached; `Gone` if there is none.
        """
        self._launch, self._command = launch, command
        await self._watch.ready()
        await self._cluster.job(self._space, self.name)
        self._made = self._found = True
        self._watch.follow(self.name, self._changed)
        await self._reach()

    async def again(self, command: Sequence[str] = ()) -> bool:
        """Reach its streams once more, when they have ended, or those of a command beside them;
        False if it has ended too.

        Raises:
            ExecutorError: it cannot be reached now.
        """
        self.disconnect()
        self._command = command
        # Most often it has ended too, of which the watch hears a moment later.
        await self._until(lambda: bool(self._story.ended), _SOON)
        if self._story.ended or self._killing:
            return False
        try:
            await self._cluster.job(self._space, self.name)  # unlike the next it takes no hole
            await self._attach()
        except Gone:
            return False
        return True

    async def _create(self, body: Mapping[str, Any]) -> None:
        making = asyncio.ensure_future(self._cluster.create_job(self._space, body))
        self._made = True
        try:
            await asyncio.shield(making)
        except asyncio.CancelledError:
            await asyncio.wait([making])  # so that `remove` finds the Job
            raise

    async def _patiently(self, ask: Callable[[], Awaitable[None]]) -> None:
        """Ask the cluster for something; one that does not answer, again, as long as the setup is
        patient."""
        end, told = self._loop.time() + self._setup.patience, False
        while True:
            try:
                await ask()
                return
            except Failed as exc:
                over = self._loop.time() >= end or self._story.ended
                if over or exc.status not in PASSING:
                    raise
                if not told:
                    told = True
                    self._ears.tell(f"{exc}; it is asked again for {self._setup.patience:g} s")
            await asyncio.sleep(_SOON)

    async def _reach(self) -> None:
        """Wait until it runs, and reach its streams."""
        await self._until_it_runs()
        try:
            await self._patiently(self._attach)
        except Failed as exc:
            raise await self._not_reached(exc) from exc
        self.label = f"pod {self._pod}"

    async def _attach(self) -> None:
        where = (self._space, self._pod, CONTAINER)
        reaching = asyncio.ensure_future(self._cluster.attach(*where, self._command))
        try:
            sock = await asyncio.shield(reaching)
        except asyncio.CancelledError:
            reaching.add_done_callback(_hung_up)
            raise
        ears = self._ears
        self._channels = Channels(
            sock, out=ears.out, error=ears.error, drained=ears.more, gone=ears.over
        )

    def write(self, data: Sequence[memoryview]) -> int:
        """Send some of the bytes without waiting; gives how many.

        Raises:
            OSError: the connection has ended.
        """
        if self._channels is None:
            raise BrokenPipeError("the connection has ended")
        return self._channels.write(data)

    async def mark(self, kept: bool) -> None:
        """Say by a label whether it may outlive its kernel.

        Raises:
            ExecutorError: the cluster refuses.
        """
        label = {KEPT: "yes" if kept else None}
        await self._cluster.label(self._space, self.name, self._pod, label)

    async def remove(self, grace: float) -> None:
        """End it with all it started, after `grace` seconds; waits until it is gone."""
        self._killing = True
        if self._patience is not None:
            self._patience.cancel()
        if not grace:
            self.disconnect()
        if self._made:
            try:
                await self._removed(max(1, math.ceil(grace)))
            except ExecutorError:
                self._cluster.left.add((self._space, self.name))
            self._made = False
        self.disconnect()
        self._watch.forget(self.name)

    async def cause(self, tail: str, *, worked: bool, patience: float = _TELLS) -> str:
        """Say how it ended: the rest of a sentence about it.

        Args:
            tail: the last of what it wrote to standard error.
            worked: its log holds more than words, and is not to be told.
            patience: seconds for the watch to say it.
        """
        if not self._killing and not self._story.ended:
            await self._until(lambda: bool(self._story.ended), patience)
        if self._story.ended.startswith("ended with"):
            words = await self._last_words(tail, worked=worked)
            return f"{self._story.ended} before the task was done{words}"
        if self._story.ended:
            return self._story.ended
        if self._killing:
            return "was ended"
        heard = f" ({self._watch.trouble})" if self._watch.trouble else ""
        words = await self._last_words(tail, worked=worked)
        return f"lost its connection to this kernel{heard}{words}"

    def leave(self) -> None:
        """Let go of it; it stays as it is."""
        self._killing = True
        if self._patience is not None:
            self._patience.cancel()
        self.disconnect()
        self._watch.forget(self.name)

    def disconnect(self) -> None:
        """Close its streams; nobody hears of it."""
        if self._channels is not None:
            self._channels.close()
            self._channels = None

    # -- what the watch says -------------------------------------------------------------------

    def _changed(self, what: str, pod: Mapping[str, Any]) -> None:
        facts = pod["metadata"]
        if what == DELETED:
            self._pods.pop(facts["name"], None)
        else:
            self._pods[facts["name"]] = is_active(pod)
        if not self._uid:
            self._uid, self._pod = facts["uid"], facts["name"]
        # The Job makes another pod when somebody deletes the first: that is not ours to use.
        if facts["uid"] == self._uid and not (self._story.ended or self._killing):
            self._story = story_of(pod, CONTAINER, self._setup.memory, self._launch)
            if what == DELETED and not self._story.ended:
                self._story = Story(ended="was deleted by somebody else")
            self._tell_trouble(self._story)
            if self._story.ended:
                # Its streams end too, unless its node is lost.
                self._loop.call_later(_NEWS, self._ears.over)
        self._news.set()

    def _tell_trouble(self, story: Story) -> None:
        """Say why it does not start, each reason once, and lose patience after a while."""
        if not story.trouble:
            return
        if story.trouble != self._said and not (story.again and self._said):
            self._said = story.trouble
            self._ears.tell(story.trouble)
        if story.hopeless:
            self._hopeless = story.trouble
        elif story.failing:
            self._lose_patience()

    def _lose_patience(self) -> None:
        if self._patience is None:
            self._patience = self._loop.call_later(self._setup.patience, self._give_up)

    def _give_up(self) -> None:
        self._patience = None
        if self._story.failing or not self._uid:
            seconds = f"{self._setup.patience:g} s"
            self._hopeless = f"{self._said}; that did not change in {seconds}"
            self._news.set()

    async def _until_it_runs(self) -> None:
        """Wait until the pod runs.

        Raises:
            ExecutorError: it never will.
        """
        quiet = 0
        while not self._story.running:
            if self._hopeless:
                raise ExecutorError(self._hopeless)
            if self._story.ended:
                raise await self._early_end()
            news = await self._until(lambda: True, _UNSEEN)
            quiet = 0 if news else quiet + 1
            if quiet == _QUIET:  # it waits, or nothing is heard of it: a cluster that is away
                await self._cluster.pods(self._space, f"{NAME}={self.name}")  # does not answer
                quiet = 0
            if not news and not self._uid:
                await self._ask_job()
        if self._patience is not None:
            self._patience.cancel()

    async def _ask_job(self) -> None:
        """There is no pod yet: the Job's events say why, a quota for example."""
        for said in (await self._cluster.warnings(self._space, self.name))[-1:]:
            trouble = f"the cluster does not make the pod: {said.rstrip('.')}"
            self._tell_trouble(Story(trouble=trouble, failing=True))

    async def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for news after which the condition holds; False if there are none in time."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    self._news.clear()
                    await self._news.wait()
                    if condition():
                        return True
        except TimeoutError:
            return False

    async def _not_reached(self, exc: Failed) -> ExecutorError:
        """The better reason, when a pod ended before it could be attached to."""
        if not isinstance(exc, Failed) or exc.status in (401, 403):
            return exc
        if not self._story.ended:
            await self._until(lambda: bool(self._story.ended), _NEWS)
        return await self._early_end() if self._story.ended else exc

    async def _early_end(self) -> ExecutorError:
        if self._story.trouble:
            return ExecutorError(self._story.trouble)
        if self._found:  # its log may hold the protocol, with values
            return ExecutorError(f"the pod {self._story.ended} before it was asked")
        said = f"the pod {self._story.ended} before it could work{await self._last_words()}"
        return ExecutorError(said)

    async def _last_words(self, tail: str = "", *, worked: bool = False) -> str:
        """The last line it wrote to standard error, or before anybody listened."""
        told = tail.strip()
        if not told and not worked:  # later its log holds the protocol, with values
            told = await self._cluster.log_of(self._space, self._pod, CONTAINER)
        return f": {told.splitlines()[-1]}" if told else ""

    # -- ending --------------------------------------------------------------------------------

    async def _removed(self, grace: int) -> None:
        """Delete the Job, which would replace its pod, then the pod; wait until it is gone."""
        await self._cluster.delete_job(self._space, self.name)
        if not self._pods:  # it may be that the watch has not heard of it yet
            for pod in await self._cluster.pods(self._space, f"{NAME}={self.name}"):
                self._pods[pod["metadata"]["name"]] = is_active(pod)
        # Only our own pod has run anything; others are the Job's replacements for it.
        if self._pods.get(self._pod):
            await self._cluster.delete_pod(self._space, self._pod, grace)
            await self._until(lambda: not self._pods.get(self._pod), _LEAVING)
        # Its node takes up to 10 s more to let go of what is not running any more.
        for name in tuple(self._pods):
            await self._cluster.delete_pod(self._space, name, 0)
        if self._pods:
            await self._until(lambda: not self._pods, _NEWS)


def _hung_up(reaching: asyncio.Future[Any]) -> None:
    """Close a connection that came too late."""
    if not reaching.cancelled() and reaching.exception() is None:
        reaching.result().close()
