"""What a function reaches."""

from __future__ import annotations

import json
import threading
import xml.etree.ElementTree
from dataclasses import dataclass
from functools import lru_cache
from json import loads as read

from twingraph_nb import component
from twingraph_nb.context import ctx
from twingraph_nb.source.reach import importable, reach

FACTOR = 3


@dataclass
class Config:
    size: int = FACTOR


CONFIG = Config()


@lru_cache
def deep(x: int) -> int:
    return x * FACTOR


def helper(x: int, config: Config = CONFIG) -> int:
    return deep(x) + read("1")


@component()
def other(x: int) -> int:
    return x


def test_helpers_are_followed_with_their_sources() -> None:
    def step(x: int) -> int:
        return helper(x)

    found = reach(step)
    assert set(found.functions) == {"helper", "deep", "Config"}
    assert found.texts["deep"].startswith("@lru_cache\ndef deep(")
    assert found.texts["Config"].startswith("@dataclass\nclass Config:")
    assert found.data == {"CONFIG": CONFIG, "FACTOR": 3}
    assert found.modules == {
        "read": "from json import loads as read",
        "lru_cache": "from functools import lru_cache",
        "dataclass": "from dataclasses import dataclass",
    }
    assert found.missing == ()


def test_modules_come_as_import_statements_with_used_submodules() -> None:
    def step(text: str) -> object:
        ctx.progress(0.5)
        return xml.etree.ElementTree.fromstring(json.dumps(text))

    found = reach(step).modules
    assert found["json"] == "import json"
    assert found["ctx"] == "from twingraph_nb.context import ctx"
    assert found["xml"].split("; ")[:2] == ["import xml", "import xml.etree.ElementTree"]


def test_closures_are_data_and_components_stand_apart() -> None:
    n = 5

    def step(x: int) -> object:
        return other(x + n)

    found = reach(step)
    assert (found.data, found.components) == ({"n": 5}, {"other": other})


def test_a_lazy_object_is_data_and_not_asked_for_anything() -> None:
    class Lazy:
        def __getattr__(self, name: str) -> object:
            raise ConnectionError(name)

    thing = Lazy()

    def step() -> object:
        return thing

    assert reach(step).data["thing"] is thing


def test_missing_names_are_listed_and_the_function_itself_is_not() -> None:
    def step(x: int) -> object:
        return step(x) + nowhere(len([])) + list(alsono)  # type: ignore[name-defined]  # noqa: F821

    assert reach(step).missing == ("nowhere", "alsono")


def test_default_values_are_reached_from_the_given_text() -> None:
    space: dict[str, object] = {"START": 2, "__name__": "__main__"}
    text = "def step(x=START):\n    return x\n"
    exec(text, space)
    assert reach(space["step"], text).data == {"START": 2}  # type: ignore[arg-type]


def test_importable_tells_a_module_function_from_a_local_one() -> None:
    def local() -> None: ...

    assert importable(json.dumps)
    assert importable(threading.Thread)
    assert importable(helper)
    assert importable(other.function)
    assert not importable(local)
