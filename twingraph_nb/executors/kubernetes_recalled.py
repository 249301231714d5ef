"""Jobs of kernels that have died: hearing the task of one to its end."""

from __future__ import annotations

import asyncio
from typing import Any

from twingraph_nb.errors import ExecutorError, Unreachable
from twingraph_nb.executors.base import Outcome, Report
from twingraph_nb.executors.kubernetes_api import PASSING, Cluster, Failed, Gone
from twingraph_nb.executors.kubernetes_pod import Pod
from twingraph_nb.executors.kubernetes_setup import PYTHON, Setup
from twingraph_nb.executors.kubernetes_watch import PodWatch
from twingraph_nb.executors.lasting import BUSY, asking, is_lasting
from twingraph_nb.executors.native_far import Ears
from twingraph_nb.executors.native_recalled import NativeEcho, is_native
from twingraph_nb.executors.owner import is_alive
from twingraph_nb.executors.recalled import Echo, Listener, Recalled, never_started
from twingraph_nb.executors.travel import Travel

__all__ = ["heard_out"]

_CURE = "See that the cluster answers"
_STRANGER = 401  # the answer to a token that is no longer valid
_GRACE = 1.0  # seconds a task has to tidy up of which only the ticket is known


async def heard_out(
    cluster: Cluster, watch: PodWatch, known: Recalled, report: Report, travel: Travel
) -> Outcome:
    """Go on hearing the Job or warm pod of a ticket, to the end of its task; it is removed then.

    Args:
        watch: of the pods of the kernel that has died.
    Raises:
        NotStarted: there is none.
        Unreachable: the cluster does not answer; it stays as it is.
        ExecutorError: it ended without an answer, or has left the task; says how.
    """
    visit = _Visit(cluster, watch, known, report, travel)
    try:
        return await visit.echo.to_its_end(visit.outcome)
    except asyncio.CancelledError:
        visit.give_up()
        raise
    finally:
        await visit.end()


class _Visit:
    """The pod of a kernel that has died, while its task is heard."""

    def __init__(
        self, cluster: Cluster, watch: PodWatch, known: Recalled, report: Report, travel: Travel
    ) -> None:
        self._known, self._report, self._server = known, report, cluster.server
        self._lasting = is_lasting(known)
        self._name = str(known.facts["pod" if self._lasting else "name"])
        self._native = is_native(known)
        echo: Listener[Any]
        self.echo = echo = (
            NativeEcho(known, report) if self._native else Echo(known, report, travel)
        )
        self._unsent = memoryview(b"")
        self._grace, self._leave = 0.0, False
        setup = Setup(image="", namespace=str(known.facts["namespace"]))
        ears = Ears(echo.received, echo.heard_error, self._ask, echo.gone, self._tell)
        self._pod = Pod(cluster, watch, setup, self._name, ears)

    async def outcome(self) -> Outcome:
        """Hear it to its end, or till the connection is lost.

        Raises:
            ExecutorError: as `heard_out`.
        """
        self._leave = False
        # A worker of another language leaves nothing as long as its kernel lives.
        if self._native and is_alive(str(self._known.facts["owner"])):
            self._leave = True
            raise ExecutorError(f"the pod of Job {self._name} is in use: its kernel is still there")
        try:
            await self._reach()
            self._unsent = memoryview(self.echo.question)
            self._ask()
            outcome = await self.echo.outcome()
            if outcome is None:
                raise await self._cause()
            return outcome
        except Gone:
            if self._lasting or self.echo.label:
                raise ExecutorError(f"there is no pod of Job {self._name} any more") from None
            raise never_started(self._known, "Job") from None
        except (Failed, OSError) as exc:
            if isinstance(exc, Failed) and exc.status not in (*PASSING, _STRANGER):
                raise
            self._leave = True
            raise Unreachable("kubernetes", self._server, str(exc), _CURE) from exc

    def give_up(self) -> None:
        """Nobody wants its answer: it is to be asked to end."""
        self._grace, self._leave = _GRACE, False

    async def end(self) -> None:
        """Remove Job and pod, unless they work for somebody else."""
        if self._leave:
            self._pod.leave()
        else:
            await self._pod.remove(self._grace)

    async def _reach(self) -> None:
        command = asking(self._known) if self._lasting else ()
        if not self.echo.label:
            await self._pod.rejoin(PYTHON, command)
            self.echo.reached(self._pod.label)
        elif not await self._pod.again(command):
            raise await self._cause()

    def _ask(self) -> None:
        while self._unsent and (count := self._pod.write([self._unsent])):
            self._unsent = self._unsent[count:]

    def _tell(self, text: str) -> None:
        self._report.log("system", f"{text}\n")

    async def _cause(self) -> ExecutorError:
        """Say why there is no answer."""
        pod, echo = self._pod, self.echo
        if self._lasting and echo.tail:
            # Whose kernel lives is not ours to end; of a dead one nothing may run twice.
            self._leave = BUSY in echo.tail or is_alive(str(self._known.facts["owner"]))
            return ExecutorError(f"{pod.label}: {echo.tail.strip()}")
        said = f"{pod.label} {await pod.cause(echo.tail, worked=True)}"
        lost = not (pod.over or echo.garbled)
        return Failed(said) if lost else ExecutorError(said)
