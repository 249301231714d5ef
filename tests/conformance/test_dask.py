"""Platform `dask` keeps the promises of all platforms, on real clusters."""

from __future__ import annotations

from pathlib import Path

import dask
import pytest
from distributed import Client

from tests.conformance.suite import Conformance, Place
from tests.executors.test_dask import left_at
from twingraph_nb.executors import dask_link
from twingraph_nb.executors.dask_local import LocalDask


class TestDask(Conformance):
    # A task has no limit of memory of its own: it is said where a worker is started.
    test_a_task_out_of_memory_says_so = None  # type: ignore[assignment]

    def test_retries_are_the_components_alone(self, tmp_path: Path) -> None:
        def fails(trace: str) -> None:
            with open(trace, "a") as file:
                file.write("ran ")
            raise ValueError("again")

        with dask.annotate(retries=5), pytest.raises(ValueError, match="again"):
            self.call(fails, str(tmp_path / "trace"), retries=2, delay=0.01)
        assert (tmp_path / "trace").read_text().split() == ["ran"] * 3

    @classmethod
    def make_place(cls, request: pytest.FixtureRequest, patch: pytest.MonkeyPatch) -> Place:
        with pytest.MonkeyPatch.context() as theirs:
            theirs.delenv("SUITE_SECRET")  # workers do not have the kernel's environment
            many, one = LocalDask(4), LocalDask(1)
        request.addfinalizer(many.close)
        request.addfinalizer(one.close)

        def left() -> list[str]:
            found = [left_at(cluster.address) for cluster in (many, one)]
            return [name for tasks, topics in found for name in (*tasks, *topics)]

        return Place(
            "dask",
            {"address": many.address},
            left=left,
            visible=lambda: said(one.address),
            trusted=True,
            cure="pip install kernel_only",
            about=dask_link,
            one={"address": one.address},
            queued=lambda: waiting(one.address),
        )


def waiting(address: str) -> bool:
    """Whether a cluster has more than the one task that its one worker has begun."""

    def count(dask_scheduler: object = None) -> int:
        return len(dask_scheduler.tasks)  # type: ignore[attr-defined]

    with Client(address, set_as_default=False) as client:
        return bool(client.run_on_scheduler(count) > 1)


def said(address: str) -> str:
    """What a cluster's dashboard and logs show."""

    def look(dask_scheduler: object = None) -> str:
        tasks = dask_scheduler.tasks.values()  # type: ignore[attr-defined]
        return repr([(one, one.annotations, one.exception_text) for one in tasks])

    with Client(address, set_as_default=False) as client:
        shown = (client.run_on_scheduler(look), client.scheduler_info(n_workers=-1))
        return repr((*shown, client.get_scheduler_logs(), client.get_worker_logs()))
