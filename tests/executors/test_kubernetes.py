"""Platform `kubernetes` on a real cluster: pods and Jobs, their rights, ends and leftovers.

What it shares with all platforms is in tests/conformance/test_kubernetes.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from tests.executors.kubernetes_running import Admin, Ticketed, Using, admin, using
from twingraph_nb.errors import ExecutorError, WorkerDied
from twingraph_nb.executors.kubernetes_api import Cluster
from twingraph_nb.executors.kubernetes_setup import NAME
from twingraph_nb.executors.kubernetes_worker import KubernetesWorker
from twingraph_nb.executors.owner import POD_OWNER, owner_label

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def boss(kubernetes: Mapping[str, str]) -> Iterator[Admin]:
    with admin(kubernetes) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(boss: Admin) -> AsyncIterator[Using]:
    async with using(boss) as made:
        yield made


class Row(NamedTuple):
    a: int
    b: str


@dataclass
class Point:
    x: float
    rows: list[Row]


def moved(point: Point, more: dict[str, Any]) -> dict[str, Any]:
    return {"point": Point(point.x + 1, [*point.rows, Row(2, "ü'\n")]), **more}


def add(a: int, b: int = 1) -> int:
    return a + b


def length(data: bytes) -> int:
    return len(data)


def place() -> str:
    import socket

    return socket.gethostname()


def hold(seconds: float = 60.0) -> None:
    print("holding", flush=True)
    time.sleep(seconds)


async def begun(task: asyncio.Task[Any], report: Ticketed, said: str = "holding") -> None:
    """Wait for what a running job says."""
    while said not in report.text() + report.text("system") and not task.done():
        report.told.clear()
        await report.told.wait()


def start(made: Using, function: Any, *args: object, **options: object) -> Any:
    report = Ticketed()
    work = made.made.run(made.job(function, *args, **options), report)
    return asyncio.create_task(work), report


async def test_values_and_classes_travel_to_a_job_and_back(shared: Using) -> None:
    more = {"deep": [(1, 2), {"x": {1, 2}}], "n": 2**80, "none": None}
    value, report = await shared.run(moved, Point(1.5, [Row(1, "a")]), more)
    assert value == {"point": Point(2.5, [Row(1, "a"), Row(2, "ü'\n")]), **more}
    assert type(value["point"]) is Point
    (ticket,) = report.tickets
    assert json.loads(ticket)["namespace"] == shared.admin.namespace
    assert json.loads(ticket)["name"].startswith("tg-moved-")
    assert report.workers[0].startswith("pod tg-moved-")


async def test_small_tasks_share_warm_pods(shared: Using) -> None:
    places = {(await shared.run(place, warm=True))[0] for _ in range(200)}
    assert len(places) == 1


async def test_a_warm_pod_gets_the_same_input_once(
    shared: Using, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, write = [], KubernetesWorker.write

    def counting(self: KubernetesWorker, data: Any) -> int:
        counts.append(write(self, data))
        return counts[-1]

    monkeypatch.setattr(KubernetesWorker, "write", counting)
    data = os.urandom(2_000_000)
    for _ in range(4):
        value, _ = await shared.run(length, data, warm=True, workers=1)
        assert value == len(data)
    assert len(data) < sum(counts) < 2 * len(data)


async def test_a_warm_pod_ends_when_nobody_needs_it(shared: Using) -> None:
    value, report = await shared.run(place, warm=True, idle=0.5)
    assert value in report.workers[0]
    while value in shared.admin.pods():
        await asyncio.sleep(0.05)


async def test_a_map_is_as_many_jobs_at_once_and_one_watch_hears_of_all(
    shared: Using, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    run, watched = Cluster._run, Cluster.watched

    def running(self: Cluster, verb: str, what: str, *rest: Any) -> Any:
        asked.append((verb, what))
        return run(self, verb, what, *rest)

    def watching(self: Cluster, *rest: str) -> Any:
        asked.append(("watch", *rest[:2]))
        return watched(self, *rest)

    monkeypatch.setattr(Cluster, "_run", running)
    monkeypatch.setattr(Cluster, "watched", watching)
    found = await asyncio.gather(*[shared.run(add, one) for one in range(3)])
    assert [value for value, _ in found] == [1, 2, 3]
    assert len({report.tickets[0] for _, report in found}) == 3
    counts = Counter(asked)
    assert (counts["create", "jobs"], counts["get", "jobs"]) == (3, 0)
    assert counts["list", "pods"] <= 1  # when the namespace is entered
    assert len([one for one in asked if one[0] == "watch"]) <= 1  # it is renewed every minute


async def test_a_task_has_least_rights(shared: Using) -> None:
    def rights() -> dict[str, object]:
        import os
        from pathlib import Path

        Path("/tmp/mine").write_text("x")
        status = Path("/proc/self/status").read_text()
        try:
            Path("/mine").write_text("x")
        except OSError as exc:
            refused = exc.strerror
        return {
            "user": os.getuid(),
            "root": refused,
            "token": os.path.exists("/var/run/secrets/kubernetes.io/serviceaccount/token"),
            "capabilities": status.partition("CapBnd:")[2].split()[0].strip("0"),
            "no_new": status.partition("NoNewPrivs:")[2].split()[0],
            "seccomp": status.partition("Seccomp:")[2].split()[0],
        }

    assert (await shared.run(rights, warm=True))[0] == {
        "user": 65534,
        "root": "Read-only file system",
        "token": False,
        "capabilities": "",
        "no_new": "1",
        "seccomp": "2",
    }


async def test_options_reach_the_pod(shared: Using) -> None:
    def looks() -> list[object]:
        import os
        from pathlib import Path

        limit = Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")
        new = Path("/sys/fs/cgroup/memory.max")
        kept = (limit if limit.exists() else new).read_text().strip()
        account = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace").exists()
        given = Path("/etc/given/key").read_text()
        return [given, os.environ["FROM"], os.getuid(), kept, account]

    boss = shared.admin
    boss.core.create_namespaced_config_map(
        boss.namespace, {"metadata": {"name": "given"}, "data": {"key": "value"}}
    )
    found, _ = await shared.run(
        looks,
        volumes=[{"configMap": {"name": "given"}, "mount": "/etc/given", "read_only": True}],
        node_selector={"kubernetes.io/hostname": boss.address["node"]},
        tolerations=[{"key": "x", "operator": "Exists"}],
        memory="200m",
        cpus=0.1,
        service_account="default",
        context="local",
        pod={
            "metadata": {"annotations": {"why": "test"}},
            "spec": {
                "securityContext": {"runAsUser": 4242},
                "containers": [{"name": "worker", "env": [{"name": "FROM", "value": "pod"}]}],
            },
        },
    )
    assert found == ["value", "pod", 4242, str(200 << 20), True]


async def test_a_cancelled_task_is_gone_when_cancelling_returns(shared: Using) -> None:
    task, report = start(shared, hold)
    await begun(task, report)
    name = report.tickets[0].partition("/")[2]
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    left = [one["metadata"]["labels"].get(NAME) for one in shared.admin.objects()]
    assert name not in left
    assert [one for one in shared.admin.containers() if name in one] == []


async def test_a_task_that_waits_for_a_node_says_so_and_can_be_cancelled(shared: Using) -> None:
    task, report = start(shared, add, 1, cpus=1000)
    await begun(task, report, "\n")
    assert "no node can take the pod: 0/1 nodes are available" in report.text("system")
    assert report.workers == []
    task.cancel()
    await asyncio.wait([task])
    assert [one for one in shared.admin.pods() if one.startswith("tg-add")] == []


async def test_a_pod_deleted_by_somebody_else_fails_its_task(shared: Using) -> None:
    task, report = start(shared, hold)
    await begun(task, report)
    pod = report.workers[0].removeprefix("pod ")
    shared.admin.core.delete_namespaced_pod(pod, shared.admin.namespace, grace_period_seconds=1)
    outcome = await task
    assert isinstance(outcome.error, WorkerDied)
    assert str(outcome.error) == "the pod that ran hold was deleted by somebody else"


async def test_a_deadline_of_the_pod_is_named(shared: Using) -> None:
    task, report = start(shared, hold)
    await begun(task, report)
    pod = report.workers[0].removeprefix("pod ")
    sooner = {"spec": {"activeDeadlineSeconds": 1}}
    shared.admin.core.patch_namespaced_pod(pod, shared.admin.namespace, sooner)
    error = (await task).error
    assert isinstance(error, WorkerDied)
    assert "the pod that ran hold was active for longer than its deadline" in str(error)


async def test_an_eviction_is_named_with_the_reason_that_the_node_wrote(shared: Using) -> None:
    task, report = start(shared, hold)
    await begun(task, report)
    pod = report.workers[0].removeprefix("pod ")
    said = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory. "}
    shared.admin.core.patch_namespaced_pod_status(pod, shared.admin.namespace, {"status": said})
    error = (await task).error
    assert isinstance(error, WorkerDied)
    assert str(error) == "the pod that ran hold was evicted by its node: The node was low on memory"


async def test_a_watch_that_breaks_is_taken_up_again(shared: Using) -> None:
    for place in [await one for one in shared.made._places.values()]:
        place.watch._cut()
    assert (await shared.run(add, 1))[0] == 2


async def test_closing_ends_what_runs(kubernetes: Mapping[str, str]) -> None:
    with admin(kubernetes) as boss:
        async with using(boss) as made:
            tasks = [start(made, hold), start(made, hold, warm=True)]
            for task, report in tasks:
                await begun(task, report)
        outcomes = await asyncio.gather(*[task for task, _ in tasks])
        assert [type(one.error) for one in outcomes] == [WorkerDied, WorkerDied]


async def test_pods_that_do_not_linger_end_with_their_kernel_and_its_jobs_are_removed(
    kubernetes: Mapping[str, str],
) -> None:
    with admin(kubernetes) as boss:
        await killed_and_removed(boss)


async def killed_and_removed(boss: Admin) -> None:
    script = textwrap.dedent(
        f"""
        import asyncio
        from tests.executors.kubernetes_running import Admin, Using
        from tests.executors.test_kubernetes import hold
        from twingraph_nb.executors.kubernetes import KubernetesExecutor
        from tests.executors.running import Memory
        from twingraph_nb.settings import Settings

        class Loud(Memory):
            def log(self, stream, text):
                print(text, flush=True)

        admin = Admin({dict(boss.address)!r})
        admin.namespace = {boss.namespace!r}
        made = Using(KubernetesExecutor(Settings.load()), admin)
        asyncio.run(made.made.run(made.job(hold, linger=0), Loud()))
        """
    )
    words = [sys.executable, "-c", script]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) as kernel:
        assert kernel.stdout is not None
        assert kernel.stdout.readline() == "holding\n"
        kernel.kill()
    theirs = {one["metadata"]["name"] for one in boss.objects() if _owner(one) != owner_label()}
    assert len(theirs) == 2
    async with using(boss) as made:
        assert (await made.run(add, 1))[0] == 2
        while theirs & {one["metadata"]["name"] for one in boss.objects()}:
            await asyncio.sleep(0.05)


def _owner(one: Mapping[str, Any]) -> str:
    return str(one["metadata"]["labels"][POD_OWNER])


async def test_what_is_no_ticket_is_not_attached_to(shared: Using) -> None:
    with pytest.raises(ExecutorError, match="'a/b' is no ticket of platform 'kubernetes'"):
        await shared.made.attach("a/b", shared.job(add, 1), Ticketed())
