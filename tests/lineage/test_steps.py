"""Each step of the embedded engine, on a small kitchen: the query and what it gives."""

from __future__ import annotations

from typing import Any

import pytest
from gremlin_python.process.traversal import Direction, T
from gremlin_python.structure.graph import Path

from tests.lineage.asking import ask, kitchen, refusal

WAYS = {
    "g.V('ann').out('taught').id()": ["bob"],
    "g.V('cake').in('cooked').id()": ["ann", "bob", "cid"],
    "g.V('bob').both('taught').id()": ["cid", "ann"],
    "g.V('ann').outE('cooked').id()": ["c0", "c1"],
    "g.V('cid').inE('taught').outV().id()": ["bob"],
    "g.E('t1').bothV().id()": ["ann", "bob"],
    "g.V('bob').bothE('taught').otherV().id()": ["cid", "ann"],
    "g.V('ann').toE(OUT, 'taught').toV(IN).id()": ["bob"],
    "g.V('ann').to(Direction.OUT, 'cooked').id()": ["soup", "cake"],
    "g.V('nobody')": [],
    "g.V(null)": [],
    "g.V('ann').V('bob').id()": ["bob"],
    "g.V('ann').properties('name', 'age').key()": ["name", "age"],
    "g.V('ann').properties('age').value()": [40],
    "g.V('ann').properties('age').element().id()": ["ann"],
    "g.E('t1').values('years')": [2],
    "g.V('ann').label()": ["cook"],
}

FILTERS = {
    "g.V().has('age', gt(30)).id()": ["ann", "cid"],
    "g.V().has('cook', 'name', 'bob').id()": ["bob"],
    "g.V().has(T.label, 'dish').count()": [3],
    "g.V().has('age').count()": [3],
    "g.V().hasNot('age').id()": ["soup", "cake", "rice"],
    "g.V().hasId('ann', 'rice').id()": ["ann", "rice"],
    "g.V().hasLabel('dish', 'nothing').count()": [3],
    "g.V().properties().hasKey('age').hasValue(31).element().id()": ["cid"],
    "g.V().values('age').is(between(25, 40)).order()": [25, 31],
    "g.V().values('age').is(outside(26, 35)).order()": [25, 40],
    "g.V().values('age').is(inside(25, 40))": [31],
    "g.V().values('name').is(within('ann', 'soup'))": ["ann", "soup"],
    "g.V().values('name').is(without('ann', 'bob', 'cid'))": ["soup", "cake", "rice"],
    "g.V().not(has('age')).count()": [3],
    "g.V().or(has('name', 'soup'), has('age', lt(30))).id()": ["bob", "soup"],
    "g.V().and(hasLabel('cook'), out('taught')).id()": ["ann", "bob"],
    "g.V().filter(has('age', 25).or().has('name', 'rice')).id()": ["bob", "rice"],
    "g.V().where(out('cooked').has('name', 'rice')).id()": ["cid"],
    "g.V('ann').as('a').out().in().where(neq('a')).dedup().id()": ["bob", "cid"],
    "g.V('ann').as('a').out('taught').as('b').where('a', gt('b')).by('age').id()": ["bob"],
    "g.V().as('a').where(as('a').out('taught').has('age', 31)).id()": ["bob"],
    "g.V().has('name', startingWith('c').and(endingWith('d'))).id()": ["cid"],
    "g.V().has('name', regex('^[a-b]')).id()": ["ann", "bob"],
    "g.V().has('name', notContaining('c')).id()": ["ann", "bob", "soup"],
    "g.V().has('name', containing('o')).id()": ["bob", "soup"],
    "g.V().has('dish', 'name', startingWith('c')).id()": ["cake"],
    "g.V().has('cook', 'name', within('cid', 'ann', 'cake')).id()": ["ann", "cid"],
    "g.V('ann').out().in().dedup().count()": [3],
    "g.V().as('a').out('cooked').dedup('a').select('a').id()": ["ann", "bob", "cid"],
    "g.V().dedup().by(label).id()": ["ann", "soup"],
    "g.V('ann').out('taught').in('taught').simplePath()": [],
    "g.V('ann').out('taught').in('taught').cyclicPath().id()": ["ann"],
    "g.inject([1, 2], [3]).any(eq(3))": [[3]],
    "g.inject([1, 2], [3]).all(lt(3))": [[1, 2]],
    "g.inject([1, 2], [3]).none(eq(3))": [[1, 2]],
    "g.V().coin(1.0d).count()": [6],
    "g.V().coin(0.0d)": [],
    "g.V().discard()": [],
    "g.V().filter(values('age').is(40)).id()": ["ann"],
}

NUMBERS = {
    "g.V().count()": [6],
    "g.V().values('age').sum()": [96],
    "g.V().values('age').mean()": [32.0],
    "g.V().values('age').min()": [25],
    "g.V().values('name').max()": ["soup"],
    "g.inject([1, 2, 3]).sum(local)": [6],
    "g.inject([1, 2, 3]).count(local)": [3],
    "g.V().values('nothing').sum()": [],
    "g.V('ann').values('age').math('_ * 2 - 1')": [79.0],
    "g.V('ann').as('a').out('taught').as('b').math('a - b').by('age')": [15.0],
    "g.V('ann').values('age').math('sqrt(_ + 9) ^ 2')": [49.0],
    "g.inject(40).as('e').math('e + 2')": [42.0],
    "g.inject(1, 0, -1).math('log _').asString()": ["0.0", "-Infinity", "NaN"],
    "g.inject(-8, 27).math('cbrt _')": [-2.0, 3.0],
    "g.inject(-8).math('_ ^ 0.5 + exp(1000)').asString()": ["NaN"],
    "g.inject(127b, 1b).sum()": [128],
    "g.withSack(2).V('ann').sack(div).by(constant(4.0d)).sack()": [0.5],
    "g.V().hasLabel('cook').sack(assign).by('age').sack(sum).by(constant(1)).sack()": [41, 26, 32],
    "g.inject(1, 2, 3).fold(0, sum)": [6],
    "g.inject('5').asNumber()": [5],
    "g.inject('0x10', '2.5').asNumber()": [16, 2.5],
    "g.inject(5.9d).asNumber(GType.INT)": [5],
    "g.inject('TRUE', 0, 2).asBool()": [True, False, True],
}

ORDER = {
    "g.V().values('age').order()": [25, 31, 40],
    "g.V().order().by('age', desc).id()": ["ann", "cid", "bob"],
    "g.V().hasLabel('cook').order().by(out('cooked').count()).by('name', desc).id()": [
        "bob", "cid", "ann",
    ],
    "g.inject([3, 1, 2]).order(local).by(desc)": [[3, 2, 1]],
    "g.inject([b: 1, a: 2]).order(local).by(values, desc).unfold().select(keys)": ["a", "b"],
    "g.V().values('name').range(1, 3)": ["bob", "cid"],
    "g.V().values('name').limit(1)": ["ann"],
    "g.V().values('name').skip(4)": ["cake", "rice"],
    "g.V().values('name').tail(1)": ["rice"],
    "g.inject([1, 2, 3]).limit(local, 1)": [[1]],
    "g.inject([1, 2, 3]).tail(local, 2)": [[2, 3]],
    "g.V().sample(4).count()": [4],
    "g.V().order().by(shuffle).count()": [6],
    "g.V().hasLabel('dish').barrier().count()": [3],
}  # fmt: skip

MAPS = {
    "g.V('ann').valueMap('name')": [{"name": ["ann"]}],
    "g.V('ann').valueMap('name').by(unfold())": [{"name": "ann"}],
    "g.V('ann').elementMap('age')": [{T.id: "ann", T.label: "cook", "age": 40}],
    "g.E('t1').elementMap()": [
        {
            T.id: "t1",
            T.label: "taught",
            Direction.IN: {T.id: "bob", T.label: "cook"},
            Direction.OUT: {T.id: "ann", T.label: "cook"},
            "years": 2,
        }
    ],
    "g.V('ann').project('n', 'dishes').by('name').by(out('cooked').count())": [
        {"n": "ann", "dishes": 2}
    ],
    "g.V('soup').project('n', 'age').by('name').by('age')": [{"n": "soup"}],
    "g.V('ann').as('a').out('taught').as('b').select('a', 'b').by('name').by('age')": [
        {"a": "ann", "b": 25}
    ],
    "g.inject('a').as('x').constant('b').as('x').select(all, 'x')": [["a", "b"]],
    "g.inject('a').as('x').constant('b').as('x').select(first, 'x')": ["a"],
    "g.inject([a: 1, b: 2]).select(values)": [[1, 2]],
    "g.inject([a: 1, b: 2]).unfold()": [{"a": 1}, {"b": 2}],
    "g.V().group().by(label).by(values('name').fold())": [
        {"cook": ["ann", "bob", "cid"], "dish": ["soup", "cake", "rice"]}
    ],
    "g.V().group().by(label).by('age')": [{"cook": [40, 25, 31], "dish": []}],
    "g.V().out('cooked').groupCount().by('name')": [{"soup": 1, "cake": 3, "rice": 1}],
    "g.V().groupCount('n').by(label).cap('n')": [{"cook": 3, "dish": 3}],
    "g.inject(['a', 'b']).index()": [[["a", 0], ["b", 1]]],
    "g.V('ann').map(out('cooked').values('name'))": ["soup"],
    "g.V('ann').flatMap(out('cooked').values('name'))": ["soup", "cake"],
    "g.V('ann').constant(1)": [1],
    "g.V('ann').out('taught').path().by('name')": [Path([set(), set()], ["ann", "bob"])],
    "g.V('ann').out('taught').out('taught').tree().by('name')": [{"ann": {"bob": {"cid": {}}}}],
}

BRANCHES = {
    "g.V('ann').repeat(out('taught')).times(2).id()": ["cid"],
    "g.V('ann').repeat(out('taught')).emit().id()": ["bob", "cid"],
    "g.V('ann').emit().repeat(out('taught')).id()": ["ann", "bob", "cid"],
    "g.V('ann').until(has('name', 'cid')).repeat(out('taught')).id()": ["cid"],
    "g.V('ann').repeat(out('taught')).until(loops().is(1)).id()": ["bob"],
    "g.V().repeat(out('cooked').limit(1)).times(1).id()": ["soup"],
    "g.V('ann').union(label(), values('name'))": ["cook", "ann"],
    "g.V().values('age').union(sum(), count())": [96, 3],
    "g.union(V('ann'), V('bob')).id()": ["ann", "bob"],
    "g.V().choose(hasLabel('cook'), constant('c'), constant('d')).dedup()": ["c", "d"],
    "g.V('ann').choose(values('age')).option(40, constant('old'))": ["old"],
    "g.V('bob').choose(values('age')).option(40, constant('old')).id()": ["bob"],
    "g.V('rice').choose(values('age')).option(unproductive, constant('no age'))": ["no age"],
    "g.V('ann').branch(values('age')).option(40, constant(1)).option(any, constant(2))": [1, 2],
    "g.V('soup', 'ann').optional(out('taught')).id()": ["soup", "bob"],
    "g.V().coalesce(values('age'), constant(0)).sum()": [96],
    "g.V().hasLabel('cook').local(out('cooked').limit(1)).id()": ["soup", "cake", "cake"],
    "g.V().out('cooked').barrier().local(count())": [1, 1, 1, 1, 1],
}

EFFECTS = {
    "g.V().hasLabel('cook').aggregate('x').by('age').cap('x')": [[40, 25, 31]],
    "g.V('ann').sideEffect(out().aggregate('x')).cap('x').count(local)": [3],
    "g.withSideEffect('x', 1, sum).V().hasLabel('cook').aggregate('x').by('age').cap('x')": [97],
    "g.inject(1).inject(2)": [2, 1],
    "g.withSideEffect('w', [1, 2]).V('ann').select('w')": [[1, 2]],
    "g.V('ann').outE('cooked').subgraph('s').cap('s').count()": [1],
    "g.V().match(as('a').out('taught').as('b'), as('b').out('cooked').as('c')).select('a', 'c')"
    ".by('name').dedup().count()": [3],
    "g.V().match(as('a').out('cooked').as('d'), as('d').in('cooked').as('b'), "
    "where('a', neq('b'))).select('d').dedup().id()": ["cake"],
}


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        pair
        for table in (WAYS, FILTERS, NUMBERS, ORDER, MAPS, BRANCHES, EFFECTS)
        for pair in table.items()
    ],
)
def test_a_query_gives_what_gremlin_defines(query: str, wanted: list[Any]) -> None:
    assert ask(query) == wanted


def test_numbers_keep_their_types() -> None:
    kinds = [type(found).__name__ for found in ask("g.inject(1, 1l, 1.0f, 1.0d, 1.0m).identity()")]
    assert kinds == ["int", "long", "Float32", "float", "Decimal"]


def test_one_and_one_point_zero_are_two_groups_for_dedup_and_equal_for_is() -> None:
    assert len(ask("g.inject(1, 1.0d, 1l).dedup()")) == 3
    assert len(ask("g.inject(1, 1.0d, 1l).is(1)")) == 3


def test_equal_keys_of_different_types_are_refused_and_not_merged() -> None:
    assert "another type" in refusal("g.inject(1, 1.0d).groupCount()")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("g.V().out('taught').values('name').out()", "out() goes on from a vertex"),
        ("g.V().values('name').sum()", "'ann' is a str"),
        ("g.V().limit(-2)", "Not a legal range"),
        ("g.V().range(3, 1)", "Not a legal range: [3, 1]"),
        ("g.V('ann').fail('burnt')", "burnt"),
        ("g.call('x')", "call() is not supported"),
        ("g.io('x').read()", "io() is not supported"),
        ("g.V().repeat(count())", "barrier can not be repeat()-step"),
        ("g.V().emit()", "The repeat()-traversal was not defined"),
        ("g.V().cap('x')", "does not exist in the side-effects: x"),
        ("g.inject(9223372036854775807l, 1l).sum()", "long overflow"),
        ("g.inject('x').asNumber()", "Can't parse string 'x' as number."),
        ("g.inject('x').asDate()", "Can't parse x as OffsetDateTime."),
        ("g.inject(1.5).asDate()", "Can't parse Double 1.5"),
        ("g.V().max()", "max() cannot compare v[ann] with v[bob]"),
        ("g.inject(1, 'a').min()", "min() cannot compare 1 with 'a'"),
        (
            "g.withSideEffect('x', [ann: 1]).V().group('x').by('name').by(count()).cap('x')",
            "'x' has a value for 'ann' already",
        ),
        ("g.inject('x').math('_ + 1')", "must resolve to a Number"),
        ("g.inject(1).math('_ +')", "not expected here"),
        ("g.V().values('name').is(typeOf('Fish'))", "Fish is not a registered type"),
        ("g.V().has('name', regex('('))", "not a regular expression"),
        ("g.V().match(as('a').out().as('c'), as('b').out().as('c'))", "unsolvable"),
        ("g.V().count('x')", "count() cannot be called with ('x')"),
        ("g.V().not()", "not() cannot be called with no argument"),
        ("g.V().coin(out())", "coin() cannot be called with (a traversal)"),
        ("g.V().count().by('x')", "by() cannot follow count()"),
        ("g.V().out().option(1, out())", "option() cannot follow out()"),
        ("g.V().repeat('a')", "repeat() takes a traversal"),
        ("g.V().repeat(out(), out())", "repeat() takes a traversal"),
        ("g.V().repeat(out()).until(3)", "until() takes the traversal or the predicate"),
        ("g.V().repeat(out()).emit(3)", "emit() takes nothing, a traversal or a predicate"),
        ("g.V().repeat(out()).times('a')", "times() takes the number of rounds"),
        ("g.V().order().by('name', 'age')", "by() behind order() cannot be called with"),
        ("g.V().group().by('name', desc)", "by() behind group() cannot be called with"),
        ("g.V().choose(label()).option('cook')", "option() behind choose() cannot be called"),
        ("g.V().choose(label()).option(1, out(), out())", "option() behind choose() cannot be"),
        ("g.V().addE('x').to()", "to() behind addE() cannot be called with no argument"),
        ("g.V().path().from(out())", "from() behind path() cannot be called with (a traversal)"),
        ("g.V().valueMap().with('x')", "valueMap() has no option 'x'"),
        ("g.V().valueMap().with(WithOptions.tokens, 16)", "tokens are 0 to 15"),
        ("g.V().pageRank().with(PageRank.times, 'x')", "with() behind pageRank() cannot be"),
        ("g.inject(1).index().with(WithOptions.indexer, 2)", "makes a list (0) or a map (1)"),
        ("g.withSideEffect('a').V()", "withSideEffect() cannot be called with ('a')"),
        ("g.withSack(1, sum, sum).V()", "withSack() is not supported"),
        ("g.V().tree('x').groupCount('x')", "the side effect 'x' is a Tree already"),
        ("g.V().match(out())", "must have a single start label"),
    ],
)
def test_what_cannot_be_answered_is_an_error_that_says_why(query: str, said: str) -> None:
    assert said in refusal(query)


def test_a_side_effect_given_by_the_asker_is_not_changed() -> None:
    held = [1]
    graph = kitchen()
    assert ask("g.withSideEffect('x', held).V('ann').aggregate('x').by('age').cap('x')", graph,
               held=held) == [[1, 40]]  # fmt: skip
    assert held == [1]
