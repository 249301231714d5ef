"""Platform `kubernetes` on a real cluster: values, logs, rights, cancel, leftovers."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from tests.executors.kubernetes_running import Admin, Ticketed, Using, admin, using
from twingraph_nb.context import ctx
from twingraph_nb.errors import ExecutorError, TaskTimeout, WorkerDied
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


def same(x: object) -> object:
    return x


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


async def test_the_users_error_keeps_cause_and_lines(shared: Using) -> None:
    def fails() -> None:
        try:
            {}["missing"]
        except KeyError as exc:
            raise ValueError("no such thing") from exc

    with pytest.raises(ValueError, match="no such thing") as caught:
        await shared.run(fails, warm=True)
    assert isinstance(caught.value.__cause__, KeyError)
    assert "raise ValueError" in str(caught.traceback[-1].statement)


async def test_output_progress_and_chunks_come_while_the_task_runs(shared: Using) -> None:
    async def talks() -> Any:
        import subprocess

        for number in range(3):
            print("line", number)
            yield number
        subprocess.run(["sh", "-c", "echo from a child; echo oops >&2"], check=True)
        ctx.progress(0.5, "half")
        print("waiting")
        import asyncio

        await asyncio.sleep(60)

    task, report = start(shared, talks, warm=True)
    await begun(task, report, "waiting")
    while "oops" not in report.text("stderr"):
        report.told.clear()
        await report.told.wait()
    assert report.text() == "line 0\nline 1\nline 2\nfrom a child\nwaiting\n"
    assert (report.text("stderr"), report.chunks) == ("oops\n", [0, 1, 2])
    assert report.progressed == [(0.5, "half")]
    task.cancel()
    await asyncio.wait([task])


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


async def test_20_mb_travel_both_ways(shared: Using) -> None:
    data = os.urandom(20 << 20)
    value, _ = await shared.run(same, data, warm=True)
    assert value == data


async def test_a_map_is_as_many_jobs_at_once(shared: Using) -> None:
    found = await asyncio.gather(*[shared.run(add, one) for one in range(5)])
    assert [value for value, _ in found] == [1, 2, 3, 4, 5]
    assert len({report.tickets[0] for _, report in found}) == 5


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


async def test_secrets_and_variables_are_in_no_description(
    shared: Using, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looks() -> list[str]:
        import os

        print("looking", flush=True)
        while not os.path.exists("/tmp/go"):
            time.sleep(0.02)
        return [os.environ["PLAIN"], os.environ["HIDDEN"]]

    monkeypatch.setenv("HIDDEN", "swordfish-1")
    options = {"env": {"PLAIN": "plainfish-2"}, "secrets": ["HIDDEN"]}
    task, report = start(shared, looks, **options)
    await begun(task, report, "looking")
    described = json.dumps(await asyncio.to_thread(shared.admin.objects))
    assert "tg-looks" in described
    assert "swordfish" not in described
    assert "plainfish" not in described
    assert "swordfish" not in str(report.logs)
    task.cancel()
    await asyncio.wait([task])


async def test_options_reach_the_pod(shared: Using) -> None:
    def looks() -> list[object]:
        import os
        from pathlib import Path

        limit = Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")
        new = Path("/sys/fs/cgroup/memory.max")
        kept = (limit if limit.exists() else new).read_text().strip()
        return [Path("/etc/given/key").read_text(), os.environ["FROM"], os.getuid(), kept]

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
        pod={
            "metadata": {"annotations": {"why": "test"}},
            "spec": {
                "securityContext": {"runAsUser": 4242},
                "containers": [{"name": "worker", "env": [{"name": "FROM", "value": "pod"}]}],
            },
        },
    )
    assert found == ["value", "pod", 4242, str(200 << 20)]


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


async def test_a_timeout_ends_the_pod(shared: Using, home: Path) -> None:
    from twingraph_nb import component

    address = shared.admin.address
    slow = component(
        platform="kubernetes",
        timeout=1,
        image=address["image"],
        kubeconfig=address["kubeconfig"],
        namespace=shared.admin.namespace,
    )(hold)
    with pytest.raises(TaskTimeout, match="did not finish within 1 s"):
        await asyncio.to_thread(slow().result, 60)
    assert [one for one in shared.admin.pods() if one.startswith("tg-hold")] == []


async def test_a_pod_deleted_by_somebody_else_fails_its_task(shared: Using) -> None:
    task, report = start(shared, hold)
    await begun(task, report)
    pod = report.workers[0].removeprefix("pod ")
    shared.admin.core.delete_namespaced_pod(pod, shared.admin.namespace, grace_period_seconds=1)
    outcome = await task
    assert isinstance(outcome.error, WorkerDied)
    assert str(outcome.error) == "the pod that ran hold was deleted by somebody else"


def exits() -> None:
    os._exit(3)


def eats() -> int:
    return len(bytearray(400 << 20))


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        (exits, {}, "ended with exit code 3 before the task was done"),
        (eats, {"memory": "100m"}, "ran out of memory (the limit is 100 MiB)"),
    ],
    ids=["exit", "memory"],
)
async def test_a_death_says_its_cause(
    shared: Using, function: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(WorkerDied) as caught:
        await shared.run(function, **options)
    assert f"the pod that ran {function.__name__} {said}" in str(caught.value)


async def test_a_deadline_of_the_pod_is_named(shared: Using) -> None:
    task, report = start(shared, hold)
    await begun(task, report)
    pod = report.workers[0].removeprefix("pod ")
    sooner = {"spec": {"activeDeadlineSeconds": 1}}
    shared.admin.core.patch_namespaced_pod(pod, shared.admin.namespace, sooner)
    error = (await task).error
    assert isinstance(error, WorkerDied)
    assert "the pod that ran hold was active for longer than its deadline" in str(error)


async def test_a_watch_that_breaks_is_taken_up_again(shared: Using) -> None:
    (place,) = [await one for one in shared.made._places.values()]
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
