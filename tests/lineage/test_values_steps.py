"""Steps on texts, lists and dates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.lineage.asking import ask, refusal

TEXTS = {
    "g.V('ann').values('name').concat(' cooks ', 'soup')": ["ann cooks soup"],
    "g.V('ann').values('name').concat(constant('!'))": ["ann!"],
    "g.inject('Ab').toUpper()": ["AB"],
    "g.inject(['Ab', 'C']).toLower(local)": [["ab", "c"]],
    "g.inject('  a b ').trim()": ["a b"],
    "g.inject('  a b ').lTrim()": ["a b "],
    "g.inject('  a b ').rTrim()": ["  a b"],
    "g.inject('abc', null).length()": [3, None],
    "g.inject('a,b,,c').split(',')": [["a", "b", "c"]],
    "g.inject('a,b,', ',', '').split(',')": [["a", "b", ""], [""], []],
    "g.inject('abc').split('')": [["a", "b", "c"]],
    "g.inject(' a  b ').split(null)": [["a", "b"]],
    "g.inject('hello').substring(1, 3)": ["el"],
    "g.inject('hello').substring(-3)": ["llo"],
    "g.inject('hello').replace('l', 'L')": ["heLLo"],
    "g.inject('abc').reverse()": ["cba"],
    "g.V('ann').format('%{name} is %{age}')": ["ann is 40"],
    "g.V('ann').format('%{_} cooks').by(values('name'))": ["ann cooks"],
    "g.V('rice').format('%{name} is %{age}')": [],
    "g.inject(1, 2.0d, true, [1, 'a']).asString()": ["1", "2.0", "true", "[1, a]"],
}

LISTS = {
    "g.inject([1, 2]).combine([2])": [[1, 2, 2]],
    "g.inject([1, 2]).merge([2, 3]).order(local)": [[1, 2, 3]],
    "g.inject([a: 1]).merge([b: 2])": [{"a": 1, "b": 2}],
    "g.inject([1, 2]).intersect([2, 5])": [{2}],
    "g.inject([1, 2]).difference([2])": [{1}],
    "g.inject([1, 2]).disjunct([2, 3])": [{1, 3}],
    "g.inject([1, 2]).product([3])": [[[1, 3], [2, 3]]],
    "g.inject(['a', 'b']).conjoin('-')": ["a-b"],
    "g.V('ann').out('taught').path().by('name').conjoin('-')": ["ann-bob"],
    "g.inject([1, 1, 2]).dedup(local)": [{1, 2}],
    "g.inject([1, 2, 3]).reverse()": [[3, 2, 1]],
    "g.V().values('age').fold().max(local)": [40],
}

NEW_YEAR = datetime(2024, 1, 1, tzinfo=UTC)
DATES = {
    "g.inject('2024-01-01T00:00:00Z').asDate()": [NEW_YEAR],
    "g.inject(1704067200000).asDate()": [NEW_YEAR],
    "g.inject('2024-01-01').asDate().dateAdd(DT.day, 2).asString()": ["2024-01-03T00:00Z"],
    "g.inject(datetime('2024-01-02T00:00:00Z')).dateDiff(datetime('2024-01-01T00:00:00Z'))": [
        86_400_000
    ],
    "g.inject(datetime('2024-01-01T00:00:00Z')).asNumber()": [1704067200000],
    "g.inject('x', datetime('2024-01-01T00:00:00Z')).is(typeOf(GType.DATETIME))": [NEW_YEAR],
}


@pytest.mark.parametrize(
    ("query", "wanted"), [pair for table in (TEXTS, LISTS, DATES) for pair in table.items()]
)
def test_a_query_gives_what_gremlin_defines(query: str, wanted: list[Any]) -> None:
    assert ask(query) == wanted


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("g.inject(1).toUpper()", "The toUpper() step can only take string as argument"),
        ("g.inject([1]).trim(local)", "The trim(local) step can only take string or list"),
        ("g.inject(null).asString()", "Can't parse null"),
        ("g.inject(1).combine([1])", "combine step can only take an array or an Iterable"),
        ("g.inject([1]).combine(1)", "combine step can only take an array or an Iterable"),
        ("g.inject([1]).product(null)", "Argument provided for product step can't be null"),
        ("g.inject(null).conjoin('-')", "Incoming traverser for conjoin step can't be null"),
        ("g.inject(1).dateAdd(DT.day, 1)", "dateAdd"),
        ("g.inject(0).asDate().dateAdd(DT.day, 9999999)", "dateAdd(): 9999999 days from 1970"),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error_that_names_the_step(query: str, said: str) -> None:
    assert said in refusal(query)
