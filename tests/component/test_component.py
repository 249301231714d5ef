"""Making components: the decorators, their options, and what they refuse."""

from __future__ import annotations

import asyncio
import functools
from collections import namedtuple
from collections.abc import AsyncIterator

import pytest

from twingraph_nb import async_component, component, pipeline
from twingraph_nb.component import shelf
from twingraph_nb.errors import DefinitionError, UnknownOption, UnknownPlatform
from twingraph_nb.policy import Policy

Pair = namedtuple("Pair", ["left", "right"])
HERE = r"\(.*test_component\.py, line \d+\)"


def step(x: int) -> int:
    return x + 1


def test_decorators_of_the_systems_our_users_come_from() -> None:
    @component()
    def a(x: int) -> int:
        return x

    @async_component(platform="local")
    async def b(x: int) -> int:
        return x

    @async_component(
        platform="process",
        config={
            "docker_image": "python:3.9",
            "timeout": 300,
            "memory": 2048,
            "retry_policy": {"max_attempts": 3, "backoff": "exponential"},
            "cache_enabled": True,
            "cache_ttl": 3600,
        },
    )
    async def c(x: int) -> int:
        return x

    @pipeline()
    def p(x: int) -> object:
        return a(b(x))

    @pipeline(name="named")
    async def q(x: int) -> object:
        return await a(b(x))

    assert c.platform == "process"
    assert c.policy == Policy(
        retries=2, backoff="exponential", timeout=300.0, cache=3600.0, memory=2048 * 2**20
    )
    assert c.options == {"image": "python:3.9"}
    assert (p(3).result(), q(4).result(), q.name) == (3, 4, "named")  # type: ignore[attr-defined]


def test_options_of_a_platform_are_read_when_a_component_is_made() -> None:
    made = component(
        platform="docker", docker_image="python:3.9", config={"timeout": 3}, env={"A": 1}
    )(step)
    assert made.options == {"image": "python:3.9", "env": {"A": "1"}}
    assert made.policy.timeout == 3.0
    with pytest.raises(DefinitionError, match=r"option 'pids' wants a whole number, 1 or more"):
        component(platform="docker", pids="many")(step)


def test_requirements_keep_the_commas_of_their_versions_and_extras() -> None:
    def step() -> None: ...

    text = component(platform="process", deps="a>=1, <2,b[x, y]!=3,>2 , c")(step)
    listed = component(platform="process", deps=["a>=1,<2", "c"])(step)
    assert text.options["deps"] == ("a>=1, <2", "b[x, y]!=3,>2", "c")
    assert listed.options["deps"] == ("a>=1,<2", "c")


def test_options_of_a_platform_stay_when_another_one_is_tried() -> None:
    made = component(platform="docker", image="python:3.9")(step)
    there_and_back = made.on("process").on("docker")
    assert there_and_back.options == made.options
    assert there_and_back.digest == made.digest


def test_unknown_platform_names_the_nearest() -> None:
    said = r"no platform is called 'proces' \(did you mean 'process'\?\); use one of"
    with pytest.raises(UnknownPlatform, match=said):
        component(platform="proces")(step)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retrys": 3}, r"unknown option 'retrys' \(did you mean 'retries'\?\)$"),
        ({"config": {"cache_tll": 3}}, r"unknown option 'cache_tll' \(did you mean 'cache_ttl'"),
        (
            {"config": {"retry_policy": {"max_atempts": 3}}},
            r"retry_policy: unknown option 'max_atempts' \(did you mean 'max_attempts'\?\)",
        ),
    ],
)
def test_unknown_option_names_the_component_and_the_nearest(
    options: dict[str, object], said: str
) -> None:
    with pytest.raises(UnknownOption, match=rf"component step {HERE}(, )?:? ?{said}"):
        component(**options)(step)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retries": -1}, "option 'retries' wants a whole number, 0 or more, not -1"),
        ({"timeout": "soon"}, "option 'timeout' wants a time above 0: .* not 'soon'"),
        ({"timeout": 0}, "option 'timeout' wants a time above 0"),
        ({"memory": "much"}, "option 'memory' wants a size: .* not 'much'"),
        ({"backoff": "none"}, "option 'backoff' wants one of fixed, linear, exponential, not"),
        ({"jitter": 2}, "option 'jitter' wants a share between 0 and 1, not 2"),
        ({"cpus": "x"}, "option 'cpus' wants a number, 0 or more, not 'x'"),
        ({"retry_on": 3}, "option 'retry_on' wants exception classes or their names, not 3"),
        ({"config": {"retry_policy": 3}}, "retry_policy wants a dict, not 3"),
        ({"config": {"retry_policy": {"max_attempts": 0}}}, "max_attempts wants 1 or more"),
    ],
)
def test_option_of_the_wrong_kind_says_what_it_wants(options: dict[str, object], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        component(**options)(step)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90.0), (1.5, 1.5), ("30s", 30.0), ("1.5h", 5400.0), ("7d", 604800.0)],
)
def test_times_may_be_written_with_units(text: object, seconds: float) -> None:
    assert component(timeout=text)(step).policy.timeout == seconds


@pytest.mark.parametrize(
    ("thing", "described"),
    [
        (3, "int"),
        (len, r"len \(builtin_function_or_method\)"),
        (dict, "the class dict"),
        (functools.partial(step, 1), "partial"),
    ],
)
def test_what_is_not_a_function_is_refused(thing: object, described: str) -> None:
    with pytest.raises(
        DefinitionError, match=f"a component is made of a function, not of {described}"
    ):
        component()(thing)  # type: ignore[arg-type]


def test_async_component_wants_async_def() -> None:
    with pytest.raises(DefinitionError, match=r"@async_component wants `async def`; write `async"):
        async_component()(step)
    assert shelf.components.get("step") is None or shelf.components["step"].style == "sync"


def test_pipeline_refuses_unknown_options_and_wrong_values() -> None:
    with pytest.raises(
        UnknownOption, match=r"unknown option 'paralel'.*did you mean 'max_parallel'"
    ):
        pipeline(paralel=3)(step)
    with pytest.raises(DefinitionError, match="on_error wants 'fail_fast' or 'continue', not 'x'"):
        pipeline(on_error="x")(step)


def test_ports_come_from_annotations() -> None:
    @component()
    def split(text: str, sep: str = ",", *rest: str, strict: bool = False) -> Pair:
        return Pair(*text.split(sep)[:2])

    @async_component()
    async def tokens(n: int) -> AsyncIterator[str]:
        for i in range(n):
            await asyncio.sleep(0)
            yield str(i)

    signature = "(text: str, sep: str=',', *rest: str, strict: bool=False) -> left, right"
    assert split.signature == signature
    assert [p.name for p in split.inputs] == ["text", "sep", "rest", "strict"]
    assert tokens.signature == "(n: int) -> value: list[str]"
    left, right = split("a,b")
    assert (left.result(), right.result()) == ("a", "b")
    assert split("a-b", "-", "x", "y", strict=True).result() == Pair("a", "b")


def test_annotation_that_names_nothing_known_leaves_the_others_in_force() -> None:
    @component()
    def odd(a: int, b: Unknown) -> str:  # type: ignore[name-defined]  # noqa: F821
        return ""

    assert odd.signature == "(a: int, b) -> value: str"


def test_defining_again_makes_the_next_version_only_if_something_changed() -> None:
    def define(factor: int, **options: object) -> object:
        namespace: dict[str, object] = {}
        exec(f"def scaled(x):\n    return x * {factor}", namespace)
        return component(**options)(namespace["scaled"])  # type: ignore[arg-type]

    first = define(2)
    assert define(2).version == first.version  # type: ignore[attr-defined]
    assert define(3).version == first.version + 1  # type: ignore[attr-defined]
    assert define(3, retries=1).version == first.version + 2  # type: ignore[attr-defined]
    assert shelf.components["scaled"].version == first.version + 2  # type: ignore[attr-defined]


def test_on_gives_the_same_component_with_other_options() -> None:
    base = component(retries=2)(step)
    other = base.on(platform="process", timeout="5s")
    assert (other.platform, other.policy.retries, other.policy.timeout) == ("process", 2, 5.0)
    assert (base.platform, base.policy.timeout) == ("local", None)
    assert other.digest != base.digest


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        (Policy(backoff="fixed", delay=2), [2, 2, 2, 2]),
        (Policy(backoff="linear", delay=2), [2, 4, 6, 8]),
        (Policy(backoff="exponential", delay=2, max_delay=10), [2, 4, 8, 10]),
    ],
)
def test_wait_before_the_next_attempt(policy: Policy, waits: list[float]) -> None:
    assert [policy.wait(attempt, 0.0) for attempt in range(1, 5)] == waits
    assert policy.wait(1, 0.99) == pytest.approx(waits[0] * (1 - 0.1 * 0.99))
