"""The protocol: whole messages from any pieces, and bytes that are none are refused."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tests.languages.samples import made
from twingraph_nb.languages import Garbled, Said, Speaker
from twingraph_nb.languages.fields import result_of
from twingraph_nb.languages.kinds import Kind, Misfit, fit, kind_of
from twingraph_nb.languages.packed import pack, unpack
from twingraph_nb.languages.plain import dump, load

CODE = "const f = (x) => x"


def speaker(signature: str = "f(x) -> y") -> Speaker:
    return Speaker(made("js", signature, CODE), "json")


def test_call_is_a_line_and_a_body() -> None:
    assert speaker().call(7, {"x": [1, "é"]}) == b'call 7 14\n[[1,"\\u00e9"]]'


@given(cut=some.lists(some.integers(0, 120), max_size=8))
@settings(deadline=None, max_examples=50)
def test_messages_are_heard_from_any_pieces(cut: list[int]) -> None:
    stream = (
        b"progress 1 8\n0.5 halflog 1 10\nstdout hi\n"
        b"failed 1 18\nTypeError\n\nno goodresult 2 4\ntrue"
    )
    heard, one = [], _SPEAKER
    edges = [0, *sorted(min(at, len(stream)) for at in cut), len(stream)]
    for start, end in itertools.pairwise(edges):
        heard += list(one.feed(stream[start:end]))
    assert heard[:2] == [Said("progress", 1, (0.5, "half")), Said("log", 1, ("stdout", "hi\n"))]
    assert (type(heard[2].value).__name__, str(heard[2].value)) == ("TypeError", "no good")
    assert heard[3:] == [Said("result", 2, b"true")]
    assert one.result(b"true") is True


_SPEAKER = Speaker(made("js", "f(x) -> y", CODE), "json")


@pytest.mark.parametrize(
    "data",
    [b"x" * 100, b"result 1\n", b"result -1 2\n", b"RESULT 1 2\n", b"result 1 99999999999\n",
     b"hello 1 0\n", b"progress 1 3\nabc", b"log 1 5\nnoise", b"\n", b"Traceback (most\n"],
)  # fmt: skip
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(Garbled):
        list(speaker().feed(data))


@given(some.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_are_heard_refused_or_waited_on(data: bytes) -> None:
    _SPEAKER.restart()
    try:
        list(_SPEAKER.feed(data))
    except Garbled:
        pass
    finally:
        _SPEAKER.restart()


KINDS = some.recursive(
    some.sampled_from([Kind(n) for n in ("none", "int", "float", "bool", "str", "bytes")]),
    lambda inner: some.one_of(
        some.builds(lambda k: Kind("optional", (k,)), inner.filter(lambda k: k.name != "none")),
        some.builds(lambda k: Kind("list", (k,)), inner),
        some.builds(lambda k: Kind("dict", (k,)), inner),
        some.builds(lambda ks: Kind("tuple", tuple(ks)), some.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=5,
)
LEAVES = {
    "none": some.none(),
    "int": some.integers(-(2**63), 2**63 - 1),
    "float": some.floats(),
    "bool": some.booleans(),
    "str": some.text(),
    "bytes": some.binary(),
}


def values(kind: Kind) -> some.SearchStrategy[object]:
    if kind.name in LEAVES:
        return LEAVES[kind.name]
    if kind.name == "tuple":
        return some.tuples(*map(values, kind.items))
    inner = values(kind.items[0])
    if kind.name == "optional":
        return some.none() | inner
    if kind.name == "list":
        return some.lists(inner, max_size=4)
    return some.dictionaries(some.text(max_size=3) | some.just("$a"), inner, max_size=3)


PAIRS = KINDS.flatmap(lambda kind: some.tuples(some.just(kind), values(kind)))


@given(some.lists(PAIRS, max_size=3))
@settings(deadline=None)
def test_values_of_any_kind_survive_both_forms(pairs: list[tuple[Kind, object]]) -> None:
    kinds = [kind for kind, _ in pairs]
    given_ = [fit(kind, value, "x") for kind, value in pairs]
    assert repr(unpack(kinds, pack(kinds, given_))) == repr(given_)
    read = load(dump(given_))
    assert isinstance(read, list)
    again = [fit(kind, value, "x") for kind, value in zip(kinds, read, strict=True)]
    assert repr(again) == repr(given_)


@given(some.lists(KINDS, max_size=3), some.binary(max_size=64))
@settings(deadline=None)
def test_bytes_that_are_no_values_are_refused_without_taking_memory(
    kinds: list[Kind], data: bytes
) -> None:
    for read in (
        lambda: unpack(kinds, data),
        lambda: load(data),
        lambda: result_of([("x", kind) for kind in kinds], data),
    ):
        try:
            read()
        except ValueError:
            pass


def test_types_have_the_kinds_that_users_write() -> None:
    for annotation, text in {
        int | None: "int | None",
        list: "list[Any]",
        tuple[int, ...]: "list[int]",
        dict[str, list[bytes]]: "dict[str, list[bytes]]",
        None: "None",
    }.items():
        assert str(kind_of(annotation)) == text
    for annotation in (int | str, dict[int, int], set[int], complex, list[set[int]]):
        assert kind_of(annotation) is None


def test_misfit_says_where_in_the_value() -> None:
    kind = kind_of(dict[str, list[int]])
    assert kind is not None
    with pytest.raises(Misfit, match=r"x\['a'\]\[1\] wants int, not nan \(float\)"):
        fit(kind, {"a": [1, math.nan]}, "x")
    with pytest.raises(Misfit, match=r"a key of x wants str, not 1 \(int\)"):
        fit(kind, {1: []}, "x")


def test_value_nested_without_end_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(Exception, match="nested too deeply"):
        speaker().call(1, {"x": endless})
    with pytest.raises(ValueError, match="nested too deeply"):
        load(b"[" * 100_000)
