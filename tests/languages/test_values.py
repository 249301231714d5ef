"""Values go to each language and come back equal, or the port that cannot is named."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest

from tests.languages.samples import LANGUAGES, called, echo, made, run
from twingraph_nb.errors import DefinitionError, PortTypeError, ResultError

PLAIN = (3, 1.5, True, "abc", b"\xff\xfe", None, "x", [1.0, -2.5], {"a": 1}, (7, "t"),
         [{"k": [1, 2]}, {}])  # fmt: skip
QUOTED = (-1, 0.1, False, "it's \"$(exit 9)\" `a`\n\\n \t é 漢 🎈;", b"\n 'q'",
          None, "", [0.1],
          {"k y": 2, "$HOME": 3, "'\"": 4, "🎈": 5, "]": 6}, (0, "a b\nc"),
          [{"$x": [9]}])  # fmt: skip
LIMITS = (2**63 - 1, math.inf, True, "", b"", None, None, [], {}, (-(2**63), "\u2028"), [])
FLOATS = (-(2**63), -0.0, False, "nan", b"x", None, None,
          [math.nan, -math.inf, 5e-324, 1e308, 3.0],
          {"a": -(2**53) - 1, "b": 2**53 + 1}, (2**53 + 1, ""), [{"": []}])  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_values_of_every_type_come_back_equal(language: str) -> None:
    component = echo(language)
    for given in (PLAIN, QUOTED, LIMITS, FLOATS):
        result = run(component, *given).result(60)
        assert isinstance(result, tuple)
        assert shown(result) == shown(given)


def shown(values: Iterable[object]) -> list[str]:
    """Values as text, which also tells nan, -0.0 and 3 from 3.0; maps have no order there."""
    return [repr(sorted(v.items()) if isinstance(v, dict) else v) for v in values]


@pytest.mark.parametrize("language", LANGUAGES)
def test_integer_beyond_64_bits_is_an_error_that_names_the_port(language: str) -> None:
    component = echo(language)
    with pytest.raises(PortTypeError, match=r"echo: input 'i' wants int, but the call gives.* 64"):
        run(component, 2**63, *PLAIN[1:]).result(60)
    with pytest.raises(PortTypeError, match=r"input 'm' wants int, but the call, m\['a'\],"):
        run(component, *PLAIN[:8], {"a": -(2**63) - 1}, *PLAIN[9:]).result(60)


@pytest.mark.parametrize("language", LANGUAGES)
def test_argument_of_another_type_is_an_error_that_names_the_port(language: str) -> None:
    component = echo(language)
    with pytest.raises(PortTypeError, match=r"input 'l' wants float.*l\[1\].* 'x' \(str\)"):
        run(component, *PLAIN[:7], [1.0, "x"], *PLAIN[8:]).result(60)
    with pytest.raises(PortTypeError, match=r"input 't' wants tuple\[int, str\].* 3 items"):
        run(component, *PLAIN[:9], (1, "a", "b"), PLAIN[10]).result(60)


@pytest.mark.parametrize("language", LANGUAGES)
def test_half_a_surrogate_pair_is_refused_or_arrives(language: str) -> None:
    given = (*PLAIN[:3], "\ud800", *PLAIN[4:])
    if language in ("javascript", "typescript"):
        assert run(echo(language), *given).result(60)[3] == "\ud800"  # type: ignore[index]
    else:
        with pytest.raises(PortTypeError, match=r"input 's' wants str.*surrogate"):
            run(echo(language), *given).result(60)


@pytest.mark.parametrize("language", LANGUAGES)
def test_numpy_and_pandas_values_count_as_what_they_hold(language: str) -> None:
    numbers = np.array([1.0, 2.0])
    given = (np.int64(3), np.float32(1.5), np.bool_(True), np.str_("s"), b"", None, None, numbers)
    result = run(echo(language), *given, {"a": np.int32(1)}, (1, "t"), []).result(60)
    assert tuple(result)[:8] == (3, 1.5, True, "s", b"", None, None, [1.0, 2.0])  # type: ignore
    series = pd.Series([4.0, 5.0])
    assert run(echo(language), *PLAIN[:7], series, *PLAIN[8:]).result(60)[7] == [4.0, 5.0]  # type: ignore


WRONG = {
    "javascript": "function wrong() { return [1, 'x'] }",
    "typescript": "function wrong(): unknown { return [1, 'x'] }",
    "bash": "xs=(1 x)",
}


@pytest.mark.parametrize("language", WRONG)
def test_result_of_another_type_is_an_error_that_names_the_output(language: str) -> None:
    with pytest.raises(ResultError, match=r"wrong: output xs\[1\] wants int, but is 'x'"):
        called(language, "wrong() -> xs: list[int]", WRONG[language])


def test_several_outputs_of_javascript_go_by_name() -> None:
    code = "const stats = (xs) => ({ most: Math.max(...xs), n: xs.length, more: 1 });"
    result = called("js", "stats(xs: list[int]) -> n: int, most: int", code, [4, 9])
    assert (result.n, result.most) == (2, 9)  # type: ignore[attr-defined]
    with pytest.raises(ResultError, match="an object with n, most, or a list of them in order"):
        called("js", "stats(x) -> n: int, most: int", "const stats = (x) => ({ n: 1 });", 1)


def test_untyped_ports_carry_plain_values() -> None:
    code = "const same = (x) => x;"
    value = {"a": [1, 2.5, None, True, {"b": "c"}], "nan": math.inf, "y": b"\0\1"}
    assert called("js", "same(x) -> y", code, value) == value
    assert called("bash", "same(x) -> y", 'y="$x"', "text") == "text"
    assert called("bash", "keys(x) -> y", 'y=("${!x[@]}")', {"k": 1}) == ["k"]
    with pytest.raises(PortTypeError, match=r"input 'x' wants Any, .* \(object\)"):
        called("js", "same(x) -> y", code, object())


def test_results_of_javascript_beyond_json_arrive() -> None:
    code = """
    function all() {
      return { map: new Map([["$k", 1n]]), set: new Set([1]), bytes: new Uint8Array([0, 255]),
               floats: new Float64Array([1.5, NaN]), none: undefined, when: new Date(0) };
    }"""
    result = called("js", "all() -> value", code)
    assert repr(result) == repr({
        "map": {"$k": 1}, "set": [1], "bytes": b"\x00\xff", "floats": [1.5, math.nan],
        "none": None, "when": "1970-01-01T00:00:00.000Z",
    })  # fmt: skip


def test_bash_says_which_input_it_cannot_hold() -> None:
    with pytest.raises(PortTypeError, match=r"input 's' wants str, .*NUL byte"):
        called("bash", "size(s: str) -> n: int", "n=${#s}", "a\0b")
    with pytest.raises(PortTypeError, match=r"input 'm' wants dict.*empty key"):
        called("bash", "size(m: dict[str, int]) -> n: int", "n=${#m[@]}", {"": 1})


def test_bash_variables_have_any_name_that_is_not_its_own() -> None:
    signature = "own(name: str, out: str, key: str, count: int, at: int) -> value: str, shape: str"
    result = called("bash", signature, 'value="$name$out$key" shape="$count$at"', *"abc", 1, 2)
    assert tuple(result) == ("abc", "12")  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="Bash cannot have a port 'PATH'"):
        made("bash", "own(PATH: str) -> n: int", "n=1")


@pytest.mark.parametrize("language", ["c++", "rust"])
def test_port_without_a_type_that_the_language_has_is_refused(language: str) -> None:
    code = {"c++": "int f(int x) { return x; }", "rust": "fn f(x: i64) -> i64 { x }"}[language]
    with pytest.raises(DefinitionError, match=r"input 'x' has no type.*there are int, float"):
        made(language, "f(x) -> y: int", code)
    with pytest.raises(DefinitionError, match=r"output 'y' is int \| str.*there are int, float"):
        made(language, "f(x: int) -> y: int | str", code)
    with pytest.raises(DefinitionError, match=r"input 'x' is set\[int\]"):
        made("js", "f(x: set[int]) -> y: int", "const f = (x) => x")


def test_defaults_are_the_values_of_inputs_not_given() -> None:
    code = "fn add(a: i64, b: i64) -> i64 { a + b }"
    add = made("rust", "add(a: int, b: int = 40) -> y: int", code)
    assert run(add, 2).result(60) == 42
    again = made("rust", "add(a: int, b: int = 50) -> y: int", code)
    assert run(again, 2).result(60) == 52
    assert again.digest != add.digest


@pytest.mark.parametrize("language", LANGUAGES)
def test_function_without_a_result_gives_none(language: str) -> None:
    code = {
        "javascript": "const f = () => {}",
        "typescript": "function f(): void {}",
        "bash": ":",
        "c++": "void f(std::vector<std::nullptr_t> all) { if (all.size() != 1000) throw 1; }",
        "rust": "fn f(all: Vec<()>) { assert_eq!(all.len(), 1000) }",
    }[language]
    signature = "f(all: list[None]) -> nothing: None"
    assert called(language, signature, code, [None] * 1000) is None


def test_megabytes_go_both_ways() -> None:
    code = "fn twice(xs: Vec<f64>) -> Vec<f64> { xs.into_iter().map(|x| 2.0 * x).collect() }"
    numbers = np.arange(500_000, dtype=float)
    result = called("rust", "twice(xs: list[float]) -> ys: list[float]", code, numbers)
    assert result == (2 * numbers).tolist()
    text = "é" * 2_000_000
    assert called("js", "same(x: str) -> y: str", "const same = (x) => x", text) == text
