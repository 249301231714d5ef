"""An exception comes back with its type, its words, its causes and its lines."""

from __future__ import annotations

import traceback

import pytest

from twingraph_nb.failure import pack_failure, restore_failure


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


def test_one_that_cannot_be_unpickled_gets_a_stand_in() -> None:
    back = restore_failure(pack_failure(raised(Odd(1, 2))))
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
    data["frames"] = [("cell-of-far-away", 3, "clean", "    rows[key]")]
    text = "".join(traceback.format_exception(restore_failure(data)))
    assert 'File "cell-of-far-away", line 3, in clean\n    rows[key]\n' in text


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
