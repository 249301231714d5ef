"""What travels: functions of notebooks and modules, with all they lead to, or a clear refusal."""

from __future__ import annotations

import linecache
import pickle
import subprocess
import sys
import textwrap
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from twingraph_nb import component
from twingraph_nb.errors import PortabilityError
from twingraph_nb.source.bundle import Bundle, bundle
from twingraph_nb.source.text import source_of

FAR = """
import pickle, sys
from twingraph_nb.rebuild import load
spaces = {}
while True:
    try:
        key, frames, args = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    if key not in spaces:
        payload, early = pickle.loads(frames[0])
        spaces[key] = load(payload, frames[1:1 + early], frames[1 + early:])
    space = spaces[key]
    space.enter()
    try:
        said = (True, space.function(*pickle.loads(args)))
    except Exception as exc:
        import traceback
        said = (False, traceback.format_exc())
    sys.stdout.buffer.write(pickle.dumps(said)); sys.stdout.buffer.flush()
"""


class Far:
    """Another interpreter that stays: it loads each bundle once, and calls what is in it."""

    def __init__(self) -> None:
        path = [str(p) for p in sys.path]
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.path[:] = {path!r}\n" + FAR],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def call(self, sent: Bundle, *args: object) -> object:
        frames = [bytes(one) for one in sent.frames]
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(pickle.dumps((sent.key, frames, pickle.dumps(args))))
        self.process.stdin.flush()
        ok, value = pickle.load(self.process.stdout)
        if not ok:
            raise RuntimeError(value)
        return value


@pytest.fixture(scope="module")
def far() -> Iterator[Far]:
    made = Far()
    yield made
    made.process.communicate()


class Notebook:
    """A `__main__` that gets cells, as in a kernel."""

    def __init__(self) -> None:
        self.module = types.ModuleType("__main__")
        self.space = vars(self.module)
        self.count = 0

    def run(self, cell: str) -> None:
        self.count += 1
        name, text = f"<cell {self.count}>", textwrap.dedent(cell)
        linecache.cache.pop(name, None)  # another file's tests may have had one of that name
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec"), self.space)

    def bundle(self, name: str, *, far: bool = False) -> Bundle:
        found = self.space[name]
        function = getattr(found, "function", found)
        return bundle(function, source_of(function), name=name, far=far)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    made = Notebook()
    monkeypatch.setitem(sys.modules, "__main__", made.module)
    return made


def test_helpers_modules_and_data_travel(notebook: Notebook, far: Far) -> None:
    notebook.run("""
        import math as m, os.path
        from collections import Counter as Count
        LIMITS = {"low": 1, "high": [2, 3]}
        def inner(x): return m.floor(x) + LIMITS["high"][1]
        def outer(x): return inner(x) * 2
    """)
    notebook.run("def step(x): return outer(x), Count('aa')['a'], os.path.basename('/a/b')")
    assert far.call(notebook.bundle("step"), 1.5) == (8, 2, "b")


def test_closures_defaults_and_recursion_keep_their_own_values(
    notebook: Notebook, far: Far
) -> None:
    notebook.run("""
        def adder(n):
            def add(x, *, step=n): return x + n * step
            return add
        one, two = adder(1), adder(2)
        base = 5
        def step(x, extra=base): return one(x), two(x), extra, fact(4)
        base = 6
        def make():
            def fact(n): return 1 if n < 2 else n * fact(n - 1)
            return fact
        fact = make()
    """)
    assert far.call(notebook.bundle("step"), 10) == (11, 14, 5, 24)


def test_decorated_lambdas_and_generators_travel(notebook: Notebook, far: Far) -> None:
    notebook.run("""
        import functools
        def loud(function):
            @functools.wraps(function)
            def wrapper(*args): return function(*args).upper()
            return wrapper
        @loud
        def name(x): return f"n{x}"
        @functools.lru_cache(maxsize=3)
        def slow(x): return x + 1
        first, second = (lambda x: x + 1), (lambda x: x + 2)
        table = {"a": lambda x: x * 2, "b": slow}
        def step(x):
            return name(x), slow(x), first(x), second(x), table["a"](x), table["b"](x)
    """)
    assert far.call(notebook.bundle("step"), 3) == ("N3", 4, 4, 5, 6, 4)


def test_classes_of_the_notebook_go_both_ways(notebook: Notebook, far: Far) -> None:
    notebook.run("""
        from __future__ import annotations
        import enum
        from collections import namedtuple
        from dataclasses import dataclass, field
        from typing import NamedTuple
        class Color(enum.Enum):
            RED = "r"
        class Base:
            factor = 3
            def scaled(self): return self.value * self.factor
        @dataclass
        class Item(Base):
            value: int
            tags: list[str] = field(default_factory=list)
            color: Color = Color.RED
        class Row(NamedTuple):
            item: Item
            scaled: int = 0
        Pair = namedtuple("Pair", "x y", defaults=[9])
        start = Item(7)
        def step(item):
            assert isinstance(item, Item) and item.color is Color.RED
            return Row(item, item.scaled()), Pair(start.value), Color("r")
    """)
    space = notebook.space
    row, pair, color = far.call(notebook.bundle("step"), space["Item"](2))  # type: ignore[misc]
    assert type(row) is space["Row"]
    assert type(row.item) is space["Item"]
    assert row == space["Row"](space["Item"](2), 6)
    assert pair == space["Pair"](7, 9)
    assert color is space["Color"].RED


def test_all_that_a_class_of_the_notebook_is_made_of_travels(notebook: Notebook, far: Far) -> None:
    notebook.run("""
        import abc, math
        from functools import cached_property, wraps
        FACTOR, START = 3, 10
        def scaled(x): return x * FACTOR
        def loud(method):
            @wraps(method)
            def inner(self): return f"{method(self)}!"
            return inner
        class Base(abc.ABC):
            @abc.abstractmethod
            def name(self): ...
    """)
    notebook.run("""
        class Item(Base):
            rate = 2
            both = rate * FACTOR
            def __init__(self, start: int = START): self.start = start
            @cached_property
            def cost(self): return scaled(self.rate)
            @property
            def twice(self): return self._twice
            @twice.setter
            def twice(self, x): self._twice = scaled(x)
            @loud
            def name(self): return "item"
            class Part:
                def whole(self): return math.floor(scaled(1.5))
        def step():
            item = Item()
            item.twice = 4
            return item.start, item.both, item.cost, item.twice, item.name(), Item.Part().whole()
    """)
    assert far.call(notebook.bundle("step")) == (10, 6, 6, 12, "item!", 4)


def test_components_are_plain_functions_there(notebook: Notebook, far: Far) -> None:
    notebook.space["component"] = component
    notebook.run("""
        @component(retries=2)
        def double(x): return x * 2
        @component()
        def step(x): return double(x) + 1
    """)
    assert far.call(notebook.bundle("step"), 4) == 9


def test_future_flags_and_line_numbers_are_kept(notebook: Notebook, far: Far) -> None:
    notebook.run("""
        from __future__ import annotations


        def step(x: Unknown) -> Nothing:
            text = '''
        not indented'''
            return text / x
    """)
    with pytest.raises(RuntimeError) as caught:
        far.call(notebook.bundle("step"), 1)
    assert 'File "<cell 1>", line 8, in step\n    return text / x' in str(caught.value)


def test_future_flags_of_a_class_without_methods_are_kept(notebook: Notebook, far: Far) -> None:
    notebook.run("""
        from __future__ import annotations
        class Node:
            left: Node | None = None
        def step(x): return Node.__annotations__["left"]
    """)
    assert far.call(notebook.bundle("step"), 1) == "Node | None"


def test_a_function_of_a_module_goes_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "steps_for_bundles.py").write_text(
        "from twingraph_nb import component\n"
        "@component()\ndef step(x): return x + 1\n"
        "@component()\ndef both(x): return step(x) + step(x=x)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import steps_for_bundles as steps

    sent = bundle(steps.step.function, steps.step.source)
    assert sent.ref == "steps_for_bundles:step"
    made = Far()
    assert made.call(sent, 1) == 2
    assert made.call(bundle(steps.both.function, steps.both.source), 1) == 4
    made.process.communicate()
    del sys.modules["steps_for_bundles"]


def test_a_part_of_a_module_never_stands_for_the_whole_that_another_takes_along(
    notebook: Notebook, far: Far, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text(
        "PRICE, RATE = 3, 7\ndef priced(x): return x + PRICE\nclass Bill(int): pass\n"
    )
    (tmp_path / "shop" / "till.py").write_text("from shop import RATE\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import shop

    notebook.run("""
        import shop.till
        def at_once(x): return isinstance(x, shop.Bill) and x * shop.till.RATE
        def when_called(x):
            import shop
            return x * shop.RATE
    """)
    part = bundle(shop.priced, source_of(shop.priced), far=True)
    for _ in range(2):  # the second time all are there already
        for name in ("at_once", "when_called"):
            assert far.call(part, 1) == 4
            assert far.call(notebook.bundle(name, far=True), shop.Bill(2)) == 14
    del sys.modules["shop"], sys.modules["shop.till"]


def test_a_bundle_is_fresh_until_something_it_is_made_of_changes(
    notebook: Notebook, far: Far
) -> None:
    notebook.run("""
        table = {"k": 1}
        def helper(x): return x + table["k"]
        def step(x): return helper(x)
    """)
    sent = notebook.bundle("step")
    assert sent.fresh()
    assert notebook.bundle("step").key == sent.key
    notebook.run("table['k'] = 5")
    assert not sent.fresh()
    sent = notebook.bundle("step")
    notebook.run("def helper(x): return -x")
    assert not sent.fresh()
    assert far.call(notebook.bundle("step"), 2) == -2


def test_a_changed_array_is_noticed(notebook: Notebook, far: Far) -> None:
    notebook.run("import numpy as np\nbig = np.zeros(100_000)\ndef step(): return float(big.sum())")
    sent = notebook.bundle("step")
    assert sent.fresh()
    notebook.run("big[0] = 4")
    assert not sent.fresh()
    assert far.call(notebook.bundle("step")) == 4.0


def test_names_that_are_not_there_are_told_with_their_line(notebook: Notebook) -> None:
    notebook.run("def step(x):\n    y = x\n    return pandas_.DataFrame(y)")
    with pytest.raises(PortabilityError, match=r"<cell 1>, line 3 uses 'pandas_', which is not"):
        notebook.bundle("step")


def test_names_that_a_class_needs_and_are_not_there_are_told_too(notebook: Notebook) -> None:
    notebook.run("""
        class Item:
            own = 1
            more = own + 1

            def made(self):
                return later(self.own)
        def step(x):
            return Item().made()
    """)
    with pytest.raises(PortabilityError, match=r"<cell 1>, line 7 uses 'later', which is not") as e:
        notebook.bundle("step")
    assert len(e.value.problems) == 1


def test_names_that_it_defines_itself_are_not_missing(notebook: Notebook, far: Far) -> None:
    notebook.run("""
        def step(x):
            global counter
            counter = x
            class Local:
                one = 1
                two = one + 1
            return counter + Local.two
    """)
    assert far.call(notebook.bundle("step"), 1) == 3


def test_captured_values_that_cannot_travel_are_told_with_line_and_cure(notebook: Notebook) -> None:
    notebook.space["lock"] = {"guard": threading.Lock()}
    notebook.run("def step(x):\n    with lock['guard']:\n        return x")
    with pytest.raises(
        PortabilityError, match=r"line 2 uses lock\['guard'\], a _thread.lock, .*make it inside"
    ):
        notebook.bundle("step")


def test_what_cannot_travel_is_told_at_the_line_that_reads_it(notebook: Notebook) -> None:
    notebook.space["guard"] = threading.Lock()
    notebook.run("""
        class Item:
            def read(self, x):
                x.guard, x = "guard", x
                return guard
    """)
    notebook.run("def step(x):\n    return Item().read(x)")
    with pytest.raises(PortabilityError, match=r"<cell 1>, line 5 uses guard, a _thread.lock"):
        notebook.bundle("step")


def test_a_function_without_source_is_refused(notebook: Notebook) -> None:
    exec("def step(x): return x", notebook.space)
    with pytest.raises(PortabilityError, match=r"the source of step .* is not known"):
        notebook.bundle("step")
