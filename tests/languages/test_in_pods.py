"""Components in other languages run in pods of a real cluster, as they do on `local`."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.executors.kubernetes_running import Admin, Ticketed, Using, admin, using
from tests.executors.running import value_of
from tests.languages.samples import echo, made
from tests.languages.test_in_containers import BASHED, COMPILED, FAILING, GIVEN, WAITING
from tests.languages.test_workers import PRINTING, SIGNATURE, job_of
from tests.services.images import python_image as image_with
from twingraph_nb.component import Component
from twingraph_nb.errors import CompileError, ExecutorError, WorkerDied

MANIFEST = """
name: sums
command: [python3, "{worker}", "{cell}"]
worker: worker.py
"""
WORKER = """
import json, sys
factor = int(open(sys.argv[1]).read())
while head := sys.stdin.buffer.readline().split():
    (numbers,) = json.loads(sys.stdin.buffer.read(int(head[2])))
    print("summing", file=sys.stderr, flush=True)
    said = json.dumps(factor * sum(numbers)).encode()
    sys.stdout.buffer.write(b"result %s %d\\n%s" % (head[1], len(said), said))
    sys.stdout.flush()
"""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def boss(kubernetes: Mapping[str, str]) -> Iterator[Admin]:
    with admin(kubernetes) as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(boss: Admin) -> AsyncIterator[Using]:
    async with using(boss) as one:
        yield one


def there(shared: Using, component: Component, **options: object) -> Component:
    """The component on the cluster, in an image with what interprets such languages."""
    options = {
        "image": image_with(bins=["node", "bash"]),
        "image_pull_policy": "IfNotPresent",
        "kubeconfig": shared.admin.address["kubeconfig"],
        "namespace": shared.admin.namespace,
        "warm": True,
        **options,
    }
    return component.on("kubernetes", **options)


async def ran(shared: Using, component: Component, *args: object) -> tuple[Any, Ticketed]:
    report = Ticketed()
    return await value_of(await shared.made.run(job_of(component, *args), report)), report


async def begun(running: asyncio.Task[Any], report: Ticketed) -> None:
    """Return when what the code prints first has arrived, which is while it runs."""
    while "begun" not in report.text() and not running.done():
        report.told.clear()
        await report.told.wait()


async def test_values_come_back_as_they_went_from_a_pod_that_stays(shared: Using) -> None:
    async def echoed(language: str) -> set[str]:
        component, pods = there(shared, echo(language)), set()
        given = BASHED if language == "bash" else GIVEN
        for _ in range(2):
            found, report = await ran(shared, component, *given.values())
            assert list(found) == list(given.values()), language
            pods |= set(report.workers)
        return pods

    for pods in await asyncio.gather(*map(echoed, ("typescript", "bash", "rust"))):
        assert len(pods) == 1
        assert pods.pop().startswith("pod tg-echo-warm-")


async def test_prints_come_on_both_streams_and_errors_with_lines_of_the_cell(
    shared: Using,
) -> None:
    async def tried(language: str) -> None:
        code, name, lines = FAILING[language]
        talks = there(shared, made(language, SIGNATURE, PRINTING[language]))
        fails = there(shared, made(language, SIGNATURE, code))
        _, report = await ran(shared, talks, "x")
        assert (report.text(), report.text("stderr")) == ("out é\n", "err\n")
        error: Any = (await shared.made.run(job_of(fails, "way"), Ticketed())).error
        assert (type(error).__name__, error.lines) == (name, lines)
        assert "no way" in str(error)

    await asyncio.gather(*map(tried, ("javascript", "bash", "c++")))


async def test_cancelled_call_takes_its_pod_along(shared: Using) -> None:
    async def cancelled(warm: bool) -> None:
        component = there(shared, made("bash", SIGNATURE, WAITING["bash"]), warm=warm)
        report = Ticketed()
        running = asyncio.create_task(shared.made.run(job_of(component, "x"), report))
        await begun(running, report)
        pod = report.workers[0].removeprefix("pod ")
        assert pod in shared.admin.pods()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert pod not in shared.admin.pods()
        assert [one for one in shared.admin.containers() if pod in one] == []

    await asyncio.gather(cancelled(True), cancelled(False))


async def test_closing_ends_what_runs_and_what_waits(kubernetes: Mapping[str, str]) -> None:
    with admin(kubernetes) as boss:
        await closed_while_it_runs(boss)


async def closed_while_it_runs(boss: Admin) -> None:
    code = made("bash", SIGNATURE, WAITING["bash"])
    async with using(boss) as one:
        warm, other = there(one, code, workers=1), there(one, code, warm=False)
        reports = [Ticketed() for _ in range(3)]
        tasks = [
            asyncio.create_task(one.made.run(job_of(component, "x"), report))
            for component, report in zip((warm, other, warm), reports, strict=True)
        ]
        for task, report in zip(tasks[:2], reports, strict=False):
            await begun(task, report)
    assert [type((await task).error) for task in tasks[:2]] == [WorkerDied] * 2
    with pytest.raises(ExecutorError, match="closed before f could begin"):
        await tasks[2]


async def test_each_task_is_a_job_unless_pods_are_kept_warm(shared: Using) -> None:
    component = there(shared, made("bash", SIGNATURE, "y=$HOSTNAME"), warm=False)
    found = await asyncio.gather(*(ran(shared, component, "x") for _ in range(2)))
    assert len({pod for pod, _ in found}) == 2
    for pod, report in found:
        assert not report.tickets  # it ends with its kernel
        assert report.workers == [f"pod {pod}"]
        while pod in shared.admin.pods():
            await asyncio.sleep(0.05)


async def test_20_mb_travel_both_ways(shared: Using) -> None:
    same = made("rust", "f(x: bytes) -> y: bytes", "fn f(x: &[u8]) -> Vec<u8> { x.to_vec() }")
    data = os.urandom(20 << 20)
    found, _ = await ran(shared, there(shared, same), data)
    assert found == data


async def test_code_has_least_rights_and_its_secrets_are_in_no_description(
    shared: Using, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIDDEN", "swordfish $(x) 'q'")
    code = """
        user=$UID said="$OPEN|$HIDDEN"
        root=written; { echo > /mine; } 2>/dev/null || root=refused
        token=none; [[ ! -e /var/run/secrets/kubernetes.io ]] || token=there
        while read -r key value; do [[ $key != CapBnd: ]] || rights=$value; done </proc/self/status
    """
    signature = "f() -> user: int, said: str, root: str, token: str, rights: str"
    given = {"env": {"OPEN": "plain  fish"}, "secrets": ["HIDDEN"]}
    component = there(shared, made("bash", signature, code), **given)
    found, report = await ran(shared, component)
    said = "plain  fish|swordfish $(x) 'q'"
    assert list(found) == [65534, said, "refused", "none", "0" * 16]
    described = json.dumps(await asyncio.to_thread(shared.admin.objects))
    assert report.workers[0].removeprefix("pod ") in described
    assert "fish" not in described
    assert "CapBnd" not in described  # nor is the code


async def test_code_that_ends_its_pod_fails_its_task_alone(shared: Using) -> None:
    code = "const f = (p) => { console.error('bye'); if (p) process.exit(3); return p }"
    leaving = there(shared, made("javascript", SIGNATURE, code))
    outcome = await shared.made.run(job_of(leaving, "x"), Ticketed())
    assert isinstance(outcome.error, WorkerDied)
    said = "the pod that ran f ended with exit code 3 before the task was done: bye"
    assert str(outcome.error) == said
    assert (await ran(shared, leaving, ""))[0] == ""


async def test_image_without_the_program_says_which_and_what_to_do(shared: Using) -> None:
    image = image_with()
    component = there(shared, made("javascript", SIGNATURE, PRINTING["javascript"]), image=image)
    with pytest.raises(ExecutorError) as caught:
        await ran(shared, component, "x")
    assert str(caught.value) == (
        f"image {image!r} has no 'node' on its PATH, which javascript component f needs there: "
        "take an image that has it, for example image='node:22-slim'"
    )


async def test_language_of_a_manifest_runs(shared: Using, tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "sums.yaml").write_text(MANIFEST)
    component = made(str(tmp_path / "sums.yaml"), "f(numbers: list[int]) -> sum: int", "10")
    found, report = await ran(shared, there(shared, component), [1, 2, 3])
    assert (found, report.text("stderr")) == (60, "summing\n")


async def test_compiler_in_the_pod_compiles_there_and_its_errors_have_the_cells_lines(
    shared: Using,
) -> None:
    # This machine's own compiler, in place of an image that would take minutes to make.
    tools = [
        {"hostPath": {"path": path}, "mount": path, "read_only": True}
        for path in ("/usr", "/etc/alternatives")
    ]
    right, wrong = (
        there(shared, made("c++", "f(x: int) -> y: int", code), volumes=tools)
        for code in COMPILED[:2]
    )
    report = Ticketed()
    (value, _), outcome = await asyncio.gather(
        ran(shared, right, 21), shared.made.run(job_of(wrong, 21), report)
    )
    assert value == 42
    assert isinstance(outcome.error, CompileError)
    assert outcome.error.errors[0][0] == 3
    assert "two" in str(outcome.error)
    assert report.text("stderr") == ""
