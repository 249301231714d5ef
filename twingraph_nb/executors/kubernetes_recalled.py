"""Jobs of kernels that have died: hearing the task of one to its end."""

from __future__ import annotations

import asyncio

from twingraph_nb.errors import ExecutorError, Unreachable
from twingraph_nb.executors.base import Outcome, Report
from twingraph_nb.executors.kubernetes_api import PASSING, Cluster, Failed, Gone
from twingraph_nb.executors.kubernetes_pod import Pod
from twingraph_nb.executors.kubernetes_setup import PYTHON, Setup
from twingraph_nb.executors.kubernetes_watch import PodWatch
from twingraph_nb.executors.lasting import BUSY, asking, is_lasting
from twingraph_nb.executors.native_far import Ears
from twingraph_nb.executors.owner import is_alive
from twingraph_nb.executors.recalled import Echo, Recalled, never_started
from twingraph_nb.executors.travel import Travel

__all__ = ["heard_out"]

_CURE = "See that the cluster answers"
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
    lasting = is_lasting(known)
    name = str(known.facts["pod" if lasting else "name"])
    echo = Echo(known, report, travel)
    left = [memoryview(echo.question)]

    def ask() -> None:
        while left and (count := pod.write(left)):
            left[:] = [left[0][count:]] if count < len(left[0]) else []

    def tell(text: str) -> None:
        report.log("system", f"{text}\n")

    setup = Setup(image="", namespace=str(known.facts["namespace"]))
    ears = Ears(echo.received, echo.heard_error, ask, echo.gone, tell)
    pod = Pod(cluster, watch, setup, name, ears)
    grace, leave = 0.0, False
    try:
        await pod.rejoin(PYTHON, asking(known) if lasting else ())
        echo.label = pod.label
        ask()
        outcome = await echo.outcome()
        if outcome is None and lasting and echo.tail:
            # Whose kernel lives is not ours to end; of a dead one nothing may run twice.
            leave = BUSY in echo.tail or is_alive(str(known.facts["owner"]))
            raise ExecutorError(f"{pod.label}: {echo.tail.strip()}")
        if outcome is None:
            said = f"{pod.label} {await pod.cause(echo.tail, worked=True)}"
            lost = not (pod.over or echo.garbled)
            raise Failed(said) if lost else ExecutorError(said)
        return outcome
    except Gone:
        if lasting:
            raise ExecutorError(f"there is no pod of Job {name} any more") from None
        raise never_started(known, "Job") from None
    except (Failed, OSError) as exc:
        if isinstance(exc, Failed) and exc.status not in PASSING:
            raise
        leave = True
        raise Unreachable("kubernetes", cluster.server, str(exc), _CURE) from exc
    except asyncio.CancelledError:
        grace = _GRACE
        raise
    finally:
        if leave:
            pod.leave()
        else:
            await pod.remove(grace)
