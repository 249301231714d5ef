"""Components in other languages run in containers, on a real engine, as they do on `local`."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.executors.running import Memory, value_of
from tests.languages.samples import echo, made
from tests.languages.test_workers import PRINTING, SIGNATURE, job_of
from tests.services.images import python_image as image_with
from twingraph_nb.component import Component
from twingraph_nb.errors import CompileError, DefinitionError, ExecutorError, WorkerDied
from twingraph_nb.executors.docker import DockerExecutor
from twingraph_nb.executors.owner import OWNER
from twingraph_nb.settings import Settings

LANGUAGES = ("javascript", "typescript", "bash", "c++", "rust")
BINS = {"javascript": ["node"], "typescript": ["node"], "bash": ["bash"]}
GIVEN: dict[str, object] = {
    "i": 2**40,
    "f": 0.5,
    "b": True,
    "s": "é\n",
    "y": b"\0\xff",
    "n": None,
    "o": None,
    "l": [1.0, 2.5],
    "m": {"a": 1},
    "t": (1, "x"),
    "d": [{"a": [1, 2]}],
}
BASHED = {**GIVEN, "y": b"bytes"}  # a variable of Bash cannot hold NUL
WAITING = {
    "javascript": "const f = (p) => { console.log('begun'); for (;;) {} }",
    "bash": "echo begun; sleep 1000",
}
"""One that is busy, and one that waits for a child."""
ODD = "\0>é\x10P\x01twingraph-\0x\0 %"
TEXT = r'"\0>é\x10P\x01twingraph-\0x\0 %"'  # as all four languages write it
MUCH = {
    "javascript": f"function f(n) {{ while (n--) console.log({TEXT}); console.error('last');"
    " return 1 }",
    "bash": r"""while ((n--)); do printf '>é\x10P\x01twingraph-x %%\n'; done
        sh -c 'echo child'; echo last >&2; y=1""",
    "c++": f"""#include <iostream>
        const char text[] = {TEXT};
        int f(int n) {{
          while (n--) std::cout << std::string(text, sizeof text - 1) << "\\n";
          std::cout.flush();
          if (system("echo child")) return 0;
          std::cerr << "last\\n";
          return 1;
        }}""",
    "rust": f"""fn f(n: i64) -> i64 {{
          for _ in 0..n {{ println!({TEXT}) }}
          std::process::Command::new("sh").args(["-c", "echo child"]).status().unwrap();
          eprintln!("last");
          1
        }}""",
}
"""They print to stdout what might be taken for something else, and have a child do so."""
CRASHING = {
    "c++": '#include <cstdio>\nint f() { puts("so far"); return *(volatile int *)8; }',
    "rust": 'fn f() -> i64 { println!("so far"); std::process::abort() }',
}
COMPILED = (
    "#include <cstdint>\nstd::int64_t f(std::int64_t x) {\n  return x * 2;\n}",
    "#include <cstdint>\nstd::int64_t f(std::int64_t x) {\n  return x * two;\n}",
    '#include <string>\nstd::string f(int x) { return "a"; }',
)
"""A function, one that a compiler refuses, and one that does not fit its ports."""
FAILING = {
    "javascript": ("const f = (p) => {\n  throw new RangeError('no ' + p)\n}", "RangeError", (2,)),
    "bash": ('echo "no $path" >&2\nfalse', "ExitStatus", (2,)),
    "c++": (
        "#include <stdexcept>\nint inner(const std::string &p) {\n"
        '  if (!p.empty()) throw std::out_of_range("no " + p);\n  return 1;\n}\n'
        "std::string f(std::string p) {\n  return std::string(inner(p), 0);\n}",
        "out_of_range",
        (3, 7),
    ),
    "rust": ('fn f(p: &str) -> String {\n    panic!("no {p}")\n}', "panic", (2,)),
}


@pytest.fixture(scope="module")
def client(docker_host: str) -> Iterator[Any]:
    made = docker.DockerClient(base_url=docker_host)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def engine(docker_host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_host)


def there(language: str, signature: str, code: str, **options: object) -> Component:
    """A component in an image with just what it needs there."""
    options = {"image": image_with(bins=BINS.get(language, [])), **options}
    return made(language, signature, code, platform="docker", **options)


def containers(client: Any) -> list[Any]:
    found = client.containers.list(all=True, filters={"label": OWNER}, ignore_removed=True)
    return [one for one in found if f".{os.getpid()}." in one.labels[OWNER]]


@contextlib.asynccontextmanager
async def executor(client: Any) -> AsyncIterator[DockerExecutor]:
    volumes = {one.name for one in client.volumes.list()}
    mine = set()
    made = DockerExecutor(replace(Settings.load(), processes=1))
    try:
        yield made
        for one in containers(client):
            mine |= {mount["Name"] for mount in one.attrs["Mounts"] if "Name" in mount}
    finally:
        await made.close()
        assert containers(client) == []
        assert not mine & ({one.name for one in client.volumes.list()} - volumes)


@pytest.mark.parametrize("language", LANGUAGES)
async def test_values_of_all_types_come_back_as_they_went(language: str, client: Any) -> None:
    component = echo(language).on("docker", image=image_with(bins=BINS.get(language, [])))
    given = BASHED if language == "bash" else GIVEN
    async with executor(client) as platform:
        for _ in range(2):
            job = job_of(component, *given.values())
            found = await value_of(await platform.run(job, Memory()))
            assert list(found) == list(given.values())  # type: ignore[call-overload]
        (one,) = containers(client)
        host = one.attrs["HostConfig"]
        assert (host["CapDrop"], host["ReadonlyRootfs"]) == (["ALL"], True)
        assert (one.attrs["Config"]["User"], host["NetworkMode"]) == ("65534:65534", "none")


@pytest.mark.parametrize("language", FAILING)
async def test_prints_are_in_the_log_before_the_result(language: str, client: Any) -> None:
    component = there(language, SIGNATURE, PRINTING[language])
    async with executor(client) as platform:
        for _ in range(20):
            memory = Memory()
            assert await value_of(await platform.run(job_of(component, "x"), memory)) == "x"
            assert (memory.text(), memory.text("stderr")) == ("out é\n", "err\n")
        assert memory.workers == [f"container {containers(client)[0].id[:12]}"]


@pytest.mark.parametrize("language", MUCH)
async def test_all_that_is_printed_arrives_whole_also_from_its_children(
    language: str, client: Any
) -> None:
    component = there(language, "f(n: int) -> y: int", MUCH[language])
    line, memory = ODD.replace("\0", "") if language == "bash" else ODD, Memory()
    async with executor(client) as platform:
        assert await value_of(await platform.run(job_of(component, 5000), memory)) == 1
    *lines, last = memory.text().splitlines()
    assert last == (line if language == "javascript" else "child")
    assert collections.Counter(lines) == {line: len(lines)}
    assert len(lines) == (4999 if language == "javascript" else 5000)
    assert memory.text("stderr") == "last\n"


@pytest.mark.parametrize("language", CRASHING)
async def test_what_is_printed_before_a_crash_arrives(language: str, client: Any) -> None:
    component, memory = there(language, "f() -> y: int", CRASHING[language]), Memory()
    async with executor(client) as platform:
        error = (await platform.run(job_of(component), memory)).error
        assert isinstance(error, WorkerDied)
    assert memory.text() == "so far\n"


@pytest.mark.parametrize("language", FAILING)
async def test_error_of_the_code_has_its_name_and_the_lines_of_the_cell(
    language: str, client: Any
) -> None:
    code, name, lines = FAILING[language]
    component = there(language, SIGNATURE, code)
    async with executor(client) as platform:
        error: Any = (await platform.run(job_of(component, "way"), Memory())).error
        assert (type(error).__name__, error.lines) == (name, lines)
        assert "no way" in str(error)
        assert len(containers(client)) == 1  # it can take the next call


@pytest.mark.parametrize("language", WAITING)
async def test_cancelled_call_takes_its_container_along(language: str, client: Any) -> None:
    component, memory = there(language, SIGNATURE, WAITING[language]), Memory()
    async with executor(client) as platform:
        running = asyncio.create_task(platform.run(job_of(component, "x"), memory))
        while "begun" not in memory.text():
            told = asyncio.ensure_future(memory.told.wait())
            await asyncio.wait({told, running}, return_when=asyncio.FIRST_COMPLETED)
            assert told.done(), running.result().error
            memory.told.clear()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert containers(client) == []


async def test_code_that_ends_its_container_fails_its_task_alone(client: Any) -> None:
    leaving = there(
        "javascript", SIGNATURE, "const f = (p) => { if (p) process.exit(3); return p }"
    )
    greedy = "const f = (p) => { const a = []; for (;;) a.push(Buffer.alloc(1 << 22, 1)) }"
    hungry = there("javascript", SIGNATURE, greedy, memory="64m")
    async with executor(client) as platform:
        error = (await platform.run(job_of(leaving, "x"), Memory())).error
        assert isinstance(error, WorkerDied)
        assert (
            str(error) == "the container that ran f ended with exit code 3 before the task was done"
        )
        error = (await platform.run(job_of(hungry, "x"), Memory())).error
        assert isinstance(error, WorkerDied)
        assert "ran out of memory (the limit is 64 MiB)" in str(error)
        assert containers(client) == []
        assert await value_of(await platform.run(job_of(leaving, ""), Memory())) == ""


async def test_what_children_of_javascript_inherit_is_not_the_channel(client: Any) -> None:
    code = "const f = (p) => require('child_process').execSync('cat; echo child >&1', {stdio: p})"
    component, memory = there("javascript", SIGNATURE, f"{code} + p"), Memory()
    async with executor(client) as platform:
        assert await value_of(await platform.run(job_of(component, "inherit"), memory)) == (
            "nullinherit"
        )
    assert memory.text("stderr") == "child\n"


async def test_variables_and_secrets_reach_the_code_and_are_not_seen_from_outside(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUSH", "s3cret $(x) 'q'")
    given = {"env": {"OPEN": "1 2"}, "secrets": ["HUSH"]}
    component = there("bash", SIGNATURE, 'y="$OPEN|$HUSH"', **given)
    async with executor(client) as platform:
        outcome = await platform.run(job_of(component, "x"), Memory())
        assert await value_of(outcome) == "1 2|s3cret $(x) 'q'"
        assert "s3cret" not in json.dumps([one.attrs for one in containers(client)])


async def test_image_without_the_program_says_which_and_what_to_do(client: Any) -> None:
    component = there("javascript", SIGNATURE, PRINTING["javascript"], image=image_with())
    async with executor(client) as platform:
        with pytest.raises(ExecutorError) as caught:
            await platform.run(job_of(component, "x"), Memory())
    for part in (image_with(), "'node'", "image='node:22-slim'"):
        assert part in str(caught.value)


async def test_compiler_in_the_container_compiles_there(client: Any) -> None:
    # This machine's own compiler, in place of an image that would take minutes to make.
    tools = {"/usr": "/usr:ro", "/etc/alternatives": "/etc/alternatives:ro"}
    right, wrong, unfit = (
        there("c++", "f(x: int) -> y: int", code, volumes=tools) for code in COMPILED
    )
    async with executor(client) as platform:
        assert await value_of(await platform.run(job_of(right, 21), Memory())) == 42
        (one,) = containers(client)
        assert "c++" in one.attrs["Config"]["Entrypoint"][2]
        for component, line, said in ((wrong, 3, "two"), (unfit, 2, "not the int that")):
            error = (await platform.run(job_of(component, 21), Memory())).error
            assert isinstance(error, CompileError)
            assert error.errors[0][0] == line
            assert said in str(error)


WORKER = """
import importlib.util, json, sys
cell = importlib.util.spec_from_file_location("cell", sys.argv[1])
module = importlib.util.module_from_spec(cell)
cell.loader.exec_module(module)
while head := sys.stdin.buffer.readline():
    kind, tag, length = head.split()
    given = json.loads(sys.stdin.buffer.read(int(length)))
    said = json.dumps(getattr(module, sys.argv[2])(*given)).encode()
    sys.stdout.buffer.write(b"result %s %d\\n%s" % (tag, len(said), said))
    sys.stdout.buffer.flush()
"""


async def test_language_of_a_manifest_runs_in_the_image_that_it_names(
    client: Any, python_image: str, tmp_path: Path
) -> None:
    (tmp_path / "snake.py").write_text(WORKER)
    (tmp_path / "snake.yaml").write_text(
        f"name: snake\nsuffix: .py\nimage: {python_image}\nworker: snake.py\n"
        'command: [python3, "{worker}", "{cell}", "{function}"]\n'
    )
    code = "import sys\ndef f(path):\n    print('seen', file=sys.stderr)\n    return path[::-1]"
    component = made(str(tmp_path / "snake.yaml"), SIGNATURE, code, platform="docker")
    async with executor(client) as platform:
        memory = Memory()
        assert await value_of(await platform.run(job_of(component, "live"), memory)) == "evil"
        assert memory.text("stderr") == "seen\n"
        (one,) = containers(client)
        assert one.attrs["Config"]["Image"] == python_image


def test_platform_that_runs_python_alone_refuses_at_once() -> None:
    with pytest.raises(
        DefinitionError, match="bash, which runs on docker, kubernetes, local, not on celery"
    ):
        made("bash", SIGNATURE, "y=1", platform="celery")


async def test_container_without_work_goes_and_a_fresh_one_serves_once(client: Any) -> None:
    idle = there("bash", SIGNATURE, "y=$BASHPID", idle=0.05)
    fresh = there("bash", SIGNATURE, "y=$path", fresh=True)
    async with executor(client) as platform:
        for component in (idle, fresh, fresh):
            report = Memory()
            assert await value_of(await platform.run(job_of(component, "x"), report))
            while containers(client):
                await asyncio.sleep(0.01)
