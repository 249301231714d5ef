"""What can never reach a platform is refused when the platform is set, the rest before dispatch."""

from __future__ import annotations

import importlib
import linecache
import re
import socket
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from twingraph_nb import async_component, component
from twingraph_nb.component import Component, shelf
from twingraph_nb.errors import PortabilityError
from twingraph_nb.platforms import PLATFORMS

ELSEWHERE = [name for name in PLATFORMS if name != "local"]
CURE = "which cannot be sent: make it inside the component, or pass what it is made of"


def line_of(function: Callable[..., object], after: int) -> str:
    """The line of this file so many lines after the one a function begins at, as messages say."""
    return f"{__file__}, line {function.__code__.co_firstlineno + after}"


def refused(platform: str, function: Callable[..., object], **options: object) -> str:
    """What is said when the platform is set; nothing is kept then."""
    shelf.components.pop(function.__name__, None)
    with pytest.raises(PortabilityError) as caught:
        component(platform=platform, **options)(function)
    assert function.__name__ not in shelf.components
    return str(caught.value)


@pytest.mark.parametrize("platform", ELSEWHERE)
def test_an_open_file_is_refused_on_every_platform_elsewhere(platform: str, tmp_path: Path) -> None:
    with (tmp_path / "x").open("w") as log:

        def step(x: int) -> int:
            y = x + 1
            log.write(str(y))
            return y

        assert refused(platform, step) == (
            f"step cannot travel to platform {platform!r}:\n"
            f"  - {line_of(step, 2)} uses log, a _io.TextIOWrapper, {CURE}"
        )
        assert component()(step).function is step


def test_the_other_ways_to_set_a_platform_refuse_it_too() -> None:
    guard = threading.Lock()

    def step() -> None:
        guard.acquire()

    async def later() -> None:
        guard.acquire()

    said = rf"cannot travel to platform 'docker':\n.*line \d+ uses guard, a _thread.lock, {CURE}"
    here = component()(step)
    with pytest.raises(PortabilityError, match=f"step {said}"):
        here.on("docker")
    with pytest.raises(PortabilityError, match=f"later {said}"):
        async_component(platform="docker")(later)
    assert here.on(retries=3).platform == "local"


def test_what_a_helper_or_a_lambda_holds_is_named_where_it_is_used() -> None:
    with socket.socket() as client:

        def fetch() -> bytes:
            return client.recv(1)

        look = lambda: client.fileno()  # noqa: E731

        def first() -> bytes:
            return fetch()

        def second() -> int:
            return look()

        assert f"{line_of(fetch, 1)} uses client, a socket.socket, {CURE}" in refused(
            "docker", first
        )
        assert f"{line_of(look, 0)} uses client, a socket.socket, {CURE}" in refused(
            "docker", second
        )


def test_a_task_that_was_captured_is_an_input_that_was_forgotten() -> None:
    task = component()(earlier)()

    def step() -> object:
        return task

    said = "uses task, a twingraph_nb.graph.task.Task, which cannot be sent: "
    assert said + "give it to the component as an input" in refused("process", step)


def earlier() -> int:
    return 1


def test_names_may_be_defined_later_but_not_after_the_call() -> None:
    space = cell(
        """
        @component(platform="process")
        def parity(n):
            return n if n < 2 else parity(n - 2) + later(0)
        """
    )
    parity = space["parity"]
    assert isinstance(parity, Component)
    with pytest.raises(
        PortabilityError,
        match=r"parity cannot travel to platform 'process':\n"
        r"  - <cell \d+>, line 3 uses 'later', which is not defined: define or import it first",
    ):
        parity(5).result(60)  # type: ignore[attr-defined]
    cell("def later(x):\n    return x", space)
    assert parity(5).result(60) == 1  # type: ignore[attr-defined]


def test_what_is_live_only_later_is_refused_before_dispatch() -> None:
    space = cell(
        """
        held = None
        @component(platform="process")
        def step():
            return held
        """
    )
    step = space["step"]
    assert isinstance(step, Component)
    space["held"] = threading.Lock()
    with pytest.raises(PortabilityError, match=rf"<cell \d+>, line 4 uses held, .*lock, {CURE}"):
        step().result(60)  # type: ignore[attr-defined]


def test_a_cell_that_was_mended_is_not_held_to_what_it_was() -> None:
    space: dict[str, object] = {"guard": threading.Lock()}
    cell("@component()\ndef step(n):\n    return guard and step(n)", space)
    cell("@component(platform='process')\ndef step(n):\n    return n and step(n - 1)", space)
    step = space["step"]
    assert isinstance(step, Component)
    assert step.platform == "process"


def test_a_module_that_is_imported_there_may_hold_what_it_likes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "import threading\nfrom twingraph_nb import component\nguard = threading.Lock()\n"
        "@component(platform={platform!r})\ndef step(x):\n    with guard:\n        return x\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "travel_here.py").write_text(text.format(platform="process"))
    (tmp_path / "travel_far.py").write_text(text.format(platform="celery"))
    assert importlib.import_module("travel_here").step(3).result(60) == 3
    with pytest.raises(PortabilityError, match=r"travel_far\.py, line 6 uses guard, a _thread"):
        importlib.import_module("travel_far")
    del sys.modules["travel_here"]


def test_pickle_is_tried_at_once_where_a_component_asks_for_it() -> None:
    guard = threading.Lock()

    def step() -> None:
        guard.acquire()

    said = r"what it captures cannot be pickled \(TypeError: cannot pickle '_thread.lock' object\)"
    assert re.search(said, refused("docker", step, ship="pickle"))


def test_what_shipping_by_pickle_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    assert refused("docker", earlier, ship="pickle").endswith(
        "ship='pickle' needs cloudpickle, here and there: pip install cloudpickle"
    )


def test_a_large_value_is_looked_at_in_part_only() -> None:
    held = [Counted(bytes(100_000)) for _ in range(1000)]

    def step() -> int:
        return len(held)

    Counted.pickled = 0
    component(platform="docker")(step)
    assert 40 < Counted.pickled < 200


class Counted:
    pickled = 0

    def __init__(self, body: bytes) -> None:
        self.body = body

    def __reduce__(self) -> tuple[object, ...]:
        Counted.pickled += 1
        return Counted, (self.body,)


_cells = iter(range(1, 1000))


def cell(text: str, space: dict[str, object] | None = None) -> dict[str, object]:
    """Run a cell of a notebook of its own; gives its names."""
    text = textwrap.dedent(text).strip() + "\n"
    name = f"<cell {next(_cells)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space = {} if space is None else space
    space.update({"__name__": "__main__", "component": component})
    exec(compile(text, name, "exec"), space)
    return space
