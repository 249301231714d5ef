"""An exception comes back with its type, its words, its causes and its lines."""

from __future__ import annotations

import linecache
import os
import pickle
import traceback
from pathlib import Path
from typing import Any

import pytest

from twingraph_nb.failure import pack_failure, restore_failure
from twingraph_nb.values import ValuesError, decode, encode


class Odd(ValueError):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as exc:
        return exc


def test_cause_notes_and_lines_come_back() -> None:
    error = raised(KeyError("k"), raised(OSError(2, "gone")))
    error.add_note("look here")
    back = restore_failure(pack_failure(error))
    assert type(back) is KeyError
    assert back.args == ("k",)
    assert isinstance(back.__cause__, FileNotFoundError)
    assert back.__notes__ == ["look here"]
    text = "".join(traceback.format_exception(back))
    assert "raise error from cause" in text
    assert "test_failure.py" in text
    assert "direct cause" in text


def test_errors_of_a_group_keep_their_causes() -> None:
    member = raised(Odd(1, 2), raised(KeyError("k")))
    for pickles in (True, False):
        data = pack_failure(raised(ExceptionGroup("several", [member])), pickles=pickles)
        back = restore_failure(data)
        assert isinstance(back, ExceptionGroup)
        assert (type(back.exceptions[0]), str(back.exceptions[0])) == (Odd, "1 and 2")
        assert repr(back.exceptions[0].__cause__) == "KeyError('k')"


def test_one_whose_class_is_not_here_gets_a_stand_in() -> None:
    data = pack_failure(raised(Odd(1, 2)))
    data.update(pickled=None, plain=None)
    back = restore_failure(data)
    assert type(back).__name__ == "Odd"
    assert isinstance(back, ValueError)
    assert str(back) == "1 and 2"


def test_one_of_a_local_class_keeps_the_names_of_its_bases() -> None:
    class Base(LookupError): ...

    class Special(Base): ...

    back = restore_failure(pack_failure(raised(Special("not there"))))
    assert [c.__name__ for c in type(back).__mro__[:3]] == ["Special", "Base", "LookupError"]
    assert str(back) == "not there"


def test_lines_of_a_cell_that_is_not_here_are_shown() -> None:
    data = pack_failure(raised(ValueError("x")))
    data["frames"] = [("<cell-of-far-away>", 3, "clean", "    rows[key]", 2)]
    text = "".join(traceback.format_exception(restore_failure(data)))
    assert 'File "<cell-of-far-away>", line 3, in clean\n    rows[key]\n' in text


def test_an_error_with_a_broken_str_still_travels() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert "no message" in str(restore_failure(pack_failure(Mute())))


def test_recursion_errors_are_cut() -> None:
    def forever() -> None:
        forever()

    with pytest.raises(RecursionError) as caught:
        forever()
    data = pack_failure(caught.value)
    assert len(data["frames"]) <= 200
    assert isinstance(restore_failure(data), RecursionError)


def test_ipython_shows_the_lines_of_a_restored_error() -> None:
    from IPython.core.ultratb import VerboseTB

    error = restore_failure(pack_failure(raised(ValueError("x"), raised(KeyError("k")))))
    shown = VerboseTB(theme_name="nocolor").text(type(error), error, error.__traceback__)
    assert "raise error from cause" in shown
    assert "direct cause" in shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("    raise ValueError(", "raise ValueError(...)"),
        ("    x = [1, {'a': call(2,", "x = [1, {'a': call(2,...)}]"),
        ("    more)", ""),
        ('    text = """begins', ""),
        ("    a + \\", "a + ..."),
        ("    f(" + "x" * 2_000, ""),
        ("    done()", "done()"),
    ],
)
def test_ipython_shows_half_statements_of_a_file_that_is_not_here(line: str, shown: str) -> None:
    from IPython.core.ultratb import VerboseTB

    name = f"/far/{len(linecache.cache)}.py"
    data = pack_failure(raised(ValueError("x")))
    data["frames"] = [(name, 3, "then", line, 1), (name, 30, "first", "    first()", 28)]
    error = restore_failure(data)
    text = VerboseTB(theme_name="nocolor").text(type(error), error, error.__traceback__)
    assert "ValueError: x" in text
    assert f"File <{name}>:30, in first()\n" in text
    assert "---> 30 first()\n" in text
    assert f"----> 3 {shown}\n" in text or not shown
    assert linecache.getline(f"<{name}>", 3).strip() == shown


def test_ipython_points_at_the_line_of_a_kernels_cell() -> None:
    from IPython.core.ultratb import VerboseTB

    text = "x = 1\ndef helper(y):\n    z = y\n\n    return z / 0\n"
    name = "/tmp/ipykernel_of_a_test/1.py"  # ipykernel's own are not there as files either
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space: dict[str, Any] = {}
    exec(compile(text, name, "exec"), space)
    with pytest.raises(ZeroDivisionError) as caught:
        space["helper"](3)
    for back in (restore_failure(pack_failure(caught.value)), crossed(caught.value)):
        told = VerboseTB(theme_name="nocolor").text(type(back), back, back.__traceback__)
        assert "      3     z = y\n      4 \n----> 5     return z / 0\n" in told


# -- from a place that is not trusted -------------------------------------------------------------


class Held(Exception):
    def __init__(self, what: object, code: int) -> None:
        super().__init__(what)
        self.what, self.code = what, code

    def __str__(self) -> str:
        return f"held {type(self.what).__name__} with {self.code}"


def crossed(error: BaseException) -> BaseException:
    """The error after a way on which nothing is pickled."""
    data = decode(encode(pack_failure(error, pickles=False)))
    return restore_failure(data, trust=False)


def test_without_pickle_the_class_its_attributes_cause_and_lines_come_back() -> None:
    error = raised(Held("x", 3), raised(OSError(2, "gone", "the file")))
    error.add_note("look here")
    back = crossed(error)
    assert isinstance(back, Held)
    assert (type(back), back.args, back.code, str(back)) == (Held, ("x",), 3, "held str with 3")
    assert isinstance(back.__cause__, FileNotFoundError)
    assert back.__cause__.filename == "the file"
    assert back.__notes__ == ["look here"]
    assert "raise error from cause" in "".join(traceback.format_exception(back))


def test_a_class_whose_init_wants_other_arguments_comes_back_as_itself() -> None:
    for back in (crossed(raised(Odd(1, 2))), restore_failure(pack_failure(raised(Odd(1, 2))))):
        assert type(back) is Odd
        assert str(back) == "1 and 2"


def test_what_cannot_travel_of_an_error_leaves_its_class_and_words() -> None:
    back = crossed(raised(Held(open, 3)))
    assert isinstance(back, Held)
    back = crossed(raised(Held(object(), 3)))
    assert isinstance(back, Held)
    assert back.code == 3
    assert str(back) == "held object with 3"


def test_groups_come_back_and_unknown_ones_get_a_stand_in() -> None:
    back = crossed(raised(ExceptionGroup("two", [ValueError(1), Held("x", 2)])))
    assert isinstance(back, ExceptionGroup)
    assert [type(each) for each in back.exceptions] == [ValueError, Held]

    class Local(ExceptionGroup[Exception]): ...

    assert "two" in str(crossed(raised(Local("two", [ValueError(1)]))))


def test_without_trust_no_pickle_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = pack_failure(raised(ValueError("x")))
    data["pickled"] = pickle.dumps(Trap())
    assert type(restore_failure(data, trust=False)) is ValueError
    assert not Path("sprung").exists()
    restore_failure(data)
    assert Path("sprung").exists()


class Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("sprung"),))


def test_without_pickle_the_data_has_none() -> None:
    assert pack_failure(raised(ValueError("x")), pickles=False)["pickled"] is None


def test_a_file_that_is_none_is_not_opened_for_its_lines(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = pack_failure(raised(ValueError("x")), pickles=False)
    for name in ("/dev/zero", str(pipe), str(tmp_path)):
        data["frames"] = [(name, 3, "f", "some text", 1)]
        text = "".join(traceback.format_exception(restore_failure(data, trust=False)))
        assert f'File "<{name}>", line 3, in f' in text


def test_a_line_number_takes_no_memory() -> None:
    data = pack_failure(raised(ValueError("x")), pickles=False)
    data["frames"] = [(f"far-{n}", 190_000 + n, "f", "text", 1) for n in range(150)]
    before = sum(len(kept[2]) for kept in linecache.cache.values() if len(kept) == 4)
    restore_failure(data, trust=False)
    after = sum(len(kept[2]) for kept in linecache.cache.values() if len(kept) == 4)
    assert after - before <= 200_000


@pytest.mark.parametrize("data", [{}, {"type": 1}, 5, None, [], {"frames": "x"}])
def test_malformed_data_is_one_kind_of_error(data: object) -> None:
    with pytest.raises(ValuesError, match="malformed"):
        restore_failure(data, trust=False)  # type: ignore[arg-type]
