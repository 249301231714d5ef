"""Text queries: what is understood, what it becomes, and what is refused with its place."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from uuid import UUID

import pytest
from gremlin_python.process.anonymous_traversal import traversal
from gremlin_python.process.graph_traversal import GraphTraversal, GraphTraversalSource, __
from gremlin_python.process.strategies import OptionsStrategy, ReadOnlyStrategy, SubgraphStrategy
from gremlin_python.process.traversal import (
    CardinalityValue,
    Column,
    Direction,
    Merge,
    Operator,
    Order,
    P,
    Pick,
    Pop,
    Scope,
    T,
    TextP,
    TraversalStrategies,
    WithOptions,
)
from gremlin_python.statics import BigDecimal, GremlinType, SingleByte, bigint, long, short
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twingraph_nb.errors import LineageError
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.machine import source
from twingraph_nb.lineage.terminals import results_of
from twingraph_nb.lineage.text import QuerySyntaxError, parse, read_query
from twingraph_nb.lineage.text_names import STEPS, Float32
from twingraph_nb.lineage.text_tokens import LONGEST

g = GraphTraversalSource(None, TraversalStrategies())


def value(text: str, **bindings: object) -> object:
    """What one argument of a step is read as."""
    return parse(f"g.inject({text})", g, bindings).bytecode.step_instructions[0][1]


SAME = {
    "g.V().has('name', 'marko').as('a').out(\"knows\")": g.V()
    .has("name", "marko")
    .as_("a")
    .out("knows"),
    "g.V().as_('a').in_().out_e('x').group_count()": g.V().as_("a").in_().out_e("x").group_count(),
    "g.V().where(out('x').count().is(gt(1)))": g.V().where(__.out("x").count().is_(P.gt(1))),
    "g.V().where(__.not(__.in('x')))": g.V().where(__.not_(__.in_("x"))),
    "g.V().has('age', not(within(1, 2)))": g.V().has("age", P.not_(P.within(1, 2))),
    "g.V().has('age', P.gt(1).and(P.lt(9)).or(eq(20)))": g.V().has(
        "age", P.gt(1).and_(P.lt(9)).or_(P.eq(20))
    ),
    "g.V().has('name', TextP.startingWith('m')).has('x', regex('^a'))": g.V()
    .has("name", TextP.starting_with("m"))
    .has("x", TextP.regex("^a")),
    "g.V().order().by('age', desc).by(T.id, Order.asc).by(id)": g.V()
    .order()
    .by("age", Order.desc)
    .by(T.id, Order.asc)
    .by(T.id),
    "g.V().fold().count(local).dedup(Scope.local)": g.V()
    .fold()
    .count(Scope.local)
    .dedup(Scope.local),
    "g.V().select(last, 'a').select(Pop.all, 'b').by(keys)": g.V()
    .select(Pop.last, "a")
    .select(Pop.all_, "b")
    .by(Column.keys),
    "g.V().choose(label()).option('x', out()).option(none, identity())": g.V()
    .choose(__.label())
    .option("x", __.out())
    .option(Pick.none, __.identity()),
    "g.mergeV([(T.label): 'a', name: 'b']).option(Merge.onCreate, [age: 1])": g.merge_v(
        {T.label: "a", "name": "b"}
    ).option(Merge.on_create, {"age": 1}),
    "g.merge_e({Direction.OUT: 1, 'to': 2}).option(on_match, {'k': single('v')})": g.merge_e(
        {Direction.OUT: 1, "to": 2}
    ).option(Merge.on_match, {"k": CardinalityValue.single("v")}),
    "g.withSack(1).V().sack(Operator.sum).by('w')": g.with_sack(1).V().sack(Operator.sum_).by("w"),
    "g.with_side_effect('a', [1, 2]).V().valueMap().with(WithOptions.tokens)": g.with_side_effect(
        "a", [1, 2]
    )
    .V()
    .value_map()
    .with_(WithOptions.tokens),
    "g.V() // all\n  .out() /* and\n on */ .count() # at last": g.V().out().count(),
    "g.V().repeat(__.start().out()).times(2);": g.V().repeat(__.start().out()).times(2),
}


@pytest.mark.parametrize("text", SAME)
def test_text_becomes_the_traversal_that_python_would_write(text: str) -> None:
    assert str(parse(text, g).bytecode) == str(SAME[text].bytecode)
    assert parse(text, g).bytecode == SAME[text].bytecode


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("1", 1),
        ("-1i", -1),
        ("0x1F", 31),
        ("010", 8),
        ("1_000", 1000),
        ("1L", long(1)),
        ("3000000000", long(3000000000)),
        ("99999999999999999999", bigint(99999999999999999999)),
        ("1n", bigint(1)),
        ("7s", short(7)),
        ("7b", SingleByte(7)),
        ("1.5", 1.5),
        ("2d", 2.0),
        ("1e3", 1000.0),
        ("0.1f", Float32("0.1")),
        ("1.50m", BigDecimal(2, 150)),
        ("-Infinity", float("-inf")),
        ("true", True),
        ("null", None),
        ("None", None),
        (r"'a\'b\n\u00e9\x41'".replace(r"\x41", ""), "a'b\né"),
        (r'"\ud83d\ude00"', "😀"),
        ("datetime('2024-01-31T12:00:00Z')", datetime(2024, 1, 31, 12, tzinfo=UTC)),
        ("datetime('2024-01-31')", datetime(2024, 1, 31, tzinfo=UTC)),
        ("UUID('41d2e28a-20a4-4ab0-b379-d810dede3786')",
         UUID("41d2e28a-20a4-4ab0-b379-d810dede3786")),
        ("[1, ['a'], []]", [1, ["a"], []]),
        ("[:]", {}),
        ("{}", set()),
        ("{1, 'a'}", {1, "a"}),
        ("[a: 1, 'b': [c: 2], 3: 4]", {"a": 1, "b": {"c": 2}, 3: 4}),
        ("[[1, 2]: 3]", {(1, 2): 3}),
        ("[id: 1, from: 2, T.id: 3, (label): 4]", {"id": 1, "from": 2, T.id: 3, T.label: 4}),
        ("{'a': 1, T.id: 2}", {"a": 1, T.id: 2}),
        ("1..4", [1, 2, 3, 4]),
        ("'c'..'a'", ["c", "b", "a"]),
        ("x", [7]),
    ],
)  # fmt: skip
def test_literals_have_gremlins_types(text: str, made: object) -> None:
    found = value(text, x=[7])
    assert (found, type(found)) == (made, type(made))


def test_a_float_of_32_bits_is_rounded_and_shown_short() -> None:
    number = value("1.1f")
    assert (number == 1.1, str(number), float(str(number))) == (False, "1.1", 1.1)


def test_strategies_are_gremlinpythons_own() -> None:
    made = parse(
        "g.withStrategies(ReadOnlyStrategy, new SubgraphStrategy(vertices: hasLabel('a'), "
        "check_adjacent_vertices=false)).withoutStrategies(CountStrategy).V()",
        g,
    ).bytecode.source_instructions
    only, sub = made[0][1:]
    assert (type(only), type(sub)) == (ReadOnlyStrategy, SubgraphStrategy)
    assert sub.configuration["checkAdjacentVertices"] is False
    assert sub.configuration["vertices"].bytecode == __.has_label("a").bytecode
    assert sub.fqcn == SubgraphStrategy().fqcn
    assert isinstance(made[1][1], GremlinType)
    assert made[1][1].gremlin_type.endswith("CountStrategy")


def test_options_of_the_source_end_in_one_strategy_and_leave_g_alone() -> None:
    made = parse("g.with('x', 1).with('y').V()", g).bytecode.source_instructions
    assert [type(one[1]) for one in made] == [OptionsStrategy]
    assert made[0][1].configuration == {"x": 1, "y": True}
    assert g.bytecode.source_instructions == []


@pytest.mark.parametrize(
    ("text", "terminal", "amount"),
    [("", "", None), (".toList()", "toList", None), (".to_list()", "toList", None),
     (".next()", "next", None), (".next(5)", "next", 5), (".iterate()", "iterate", None)],
)  # fmt: skip
def test_a_terminal_step_is_named_and_not_run(text: str, terminal: str, amount: int | None) -> None:
    query = read_query("g.V().count()" + text, g)
    assert (query.terminal, query.amount) == (terminal, amount)
    assert query.traversal.bytecode == g.V().count().bytecode


def test_every_step_of_gremlinpython_is_known_in_both_spellings() -> None:
    ends = {
        "to_list", "toList", "to_set", "toSet", "next", "has_next", "hasNext", "iterate", "promise",
        "next_traverser", "nextTraverser", "clone", "program",
    }  # fmt: skip
    missing = [
        name
        for name in dir(GraphTraversal)
        if not name.startswith("_") and name not in ends and name not in STEPS
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("text", "line", "column", "why"),
    [
        ("", 1, 1, "empty"),
        ("g", 1, 2, "g alone"),
        ("h.V()", 1, 1, "starts with g"),
        ("g.V().outt()", 1, 7, "did you mean 'out'?"),
        ("g.V()\n  .order().by('x', dsc)", 2, 20, "did you mean 'desc'?"),
        ("g.V().order().by('x', Order.dsc)", 1, 29, "did you mean 'desc'?"),
        ("g.V().has('x', P.gtt(1))", 1, 18, "did you mean 'gt'?"),
        ("g.out()", 1, 3, "does not start"),
        ("g.V().withSack(1)", 1, 7, "before the first step"),
        ("g.V().out", 1, 10, "steps are called"),
        ("g.V().out(", 1, 11, "missing"),
        ("g.V().has('x)", 1, 11, "no end"),
        ("g.V().has('x',)", 1, 15, "behind this comma"),
        ("g.V().limit(1x)", 1, 13, "not a number"),
        ("g.V().limit(99999999999i)", 1, 13, "32 bits"),
        ("g.V().limit(1.5L)", 1, 13, "fraction"),
        ("g.V().has('x', \"\\q\")", 1, 17, "escape"),
        ("g.V().where(g.V())", 1, 13, "starts with __"),
        ("g.V().next().out()", 1, 13, "nothing can follow"),
        ("g.V().where(out().toList())", 1, 19, "ends a query"),
        ("g.V(); g.E()", 1, 8, "one at a time"),
        ("g.withStrategies(SubgrafStrategy).V()", 1, 18, "did you mean 'SubgraphStrategy'?"),
        ("g.withStrategies(SubgraphStrategy(vertex: out())).V()", 1, 35, "'vertices'"),
        ("g.V().has('a', between(1))", 1, 16, "takes 2 values"),
        ("g.V(unknown)", 1, 5, "nor a variable"),
        ("g.V().hasId({1, true})", 1, 13, "equal here"),
        ("g.inject([[a: 1]: 2])", 1, 11, "a key is a plain value"),
        ("g.inject({[a: 1]})", 1, 10, "plain values only"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, line: int, column: int, why: str) -> None:
    with pytest.raises(QuerySyntaxError) as caught:
        parse(text, g)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert why in str(caught.value)
    assert str(caught.value).splitlines()[-1].index("^") == 4 + column - 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import os", "starts with g, not with 'import'"),
        ("__import__('os').system('id')", "starts with g, not with '__import__'"),
        ("g.__class__", "'__class__' is no step"),
        ("g.V().__class__.__mro__", "'__class__' is no step"),
        ("g.V().where(__.__class__)", "'__class__' is no step"),
        ("g.V().where(__import__('os'))", "'__import__' is no step"),
        ("g.V().map(lambda: 1)", "lambdas are code"),
        ("g.V().map{it.get()}", "steps are called"),
        ("g.V().map({it.get()})", "lambdas are code"),
        ("g.V().filter({x -> true})", "lambdas are code"),
        ("g.V().map(Lambda.function('it.get()'))", "lambdas are code"),
        ("g.V().map(eval('1'))", "no step eval()"),
        ("g.V().inject(open('/etc/passwd'))", "no step open()"),
        ("g.inject(new File('/etc/passwd'))", "makes strategies and vertices only, not 'File'"),
        ("g.inject(new java.util.Date())", "makes strategies and vertices only, not 'java'"),
        ("g.inject(System.exit(0))", "no class 'System'"),
        ("g.inject(new Edge(1, 'x'))", "makes strategies and vertices only, not 'Edge'"),
        ("g.bytecode.add_step('x')", "g.bytecode() does not start a traversal"),
        ("g.tx().commit()", "g.tx() does not start a traversal"),
        ("g.V().graph", "no step graph()"),
        ("g.V()[0]", "should end here, before '['"),
        ("g.inject(f'{1}')", "'f' is neither a token of Gremlin nor a variable"),
        ("g.inject(1 + 1)", "'+' means nothing"),
        ("g.inject(x.y)", "no class 'x'"),
        ("g.inject(*x)", "'*' means nothing"),
        ("g.V().by(name='x')", "'name' is neither a token of Gremlin nor a variable"),
        ("g.inject(`id`)", "'`' means nothing"),
    ],
)
def test_hostile_text_is_refused(text: str, why: str) -> None:
    with pytest.raises(QuerySyntaxError, match=re.escape(why)):
        parse(text, g, {"x": [1], "__class__": 1, "eval": eval})


def test_limits_hold_on_length_and_depth() -> None:
    with pytest.raises(QuerySyntaxError, match="limit"):
        parse("g.V()" + ".out()" * LONGEST, g)
    for opening in ("[", "(", "{", "out(", "not(", "P.not(", "__.not(", "[a: ", "[[1]: "):
        with pytest.raises(QuerySyntaxError, match="brackets"):
            parse("g.inject(" + opening * 2000, g)
    with pytest.raises(QuerySyntaxError, match="at most"):
        parse("g.inject(1..999999999)", g)
    assert len(parse("g.V()" + ".out()" * 5000, g).bytecode.step_instructions) == 5001


PIECES = [
    "g", ".", "V()", "(", ")", "[", "]", "{", "}", ",", ":", "->", "..", "'a'", '"b"', "1", "2L",
    "out", "not", "has", "as", "by", "P", "T", "id", "gt", "within", "__", "new", "null", "x", "=",
    "single", "datetime", "withStrategies", "SubgraphStrategy", "Order", "desc", ";", "toList", " ",
    "\n", "//", "\\", "'", "-", "1.5f", "lambda", "next", "Cardinality", "set", "with", "repeat",
]  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_heap_of_pieces_is_read_or_refused(text: str) -> None:
    for query in (text, "g.V()." + text, "g.inject(" + text + ")"):
        try:
            parse(query, g, {"x": 1})
        except QuerySyntaxError:
            continue


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for query in (text, f"g.V({text})", f"g.V('{text}')"):
        try:
            parse(query, g)
        except QuerySyntaxError:
            continue


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=60))
def test_any_string_survives_quoting(text: str) -> None:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    assert value(f'"{escaped}"') == text


def test_a_source_of_another_class_keeps_its_class() -> None:
    made = parse("g.V().out()", traversal().with_(None))
    assert made.bytecode == g.V().out().bytecode


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("", [1, 1, 2]),
        (".toList()", [1, 1, 2]),
        (".toSet()", [1, 2]),
        (".next()", [1]),
        (".next(2)", [1, 1]),
        (".next(9)", [1, 1, 2]),
        (".hasNext()", [True]),
        (".iterate()", []),
        (".is(3).tryNext()", []),
        (".is(3).hasNext()", [False]),
    ],
)
def test_a_query_gives_what_its_last_call_asks_for(end: str, expected: list[object]) -> None:
    assert results_of(read_query(f"g.inject(1, 1, 2){end}", source(Graph()))) == expected


@pytest.mark.parametrize(("end", "why"), [("is(3).next()", "no next"), ("explain()", "explain")])
def test_a_last_call_that_has_nothing_to_give_is_an_error(end: str, why: str) -> None:
    with pytest.raises(LineageError, match=why):
        results_of(read_query(f"g.inject(1).{end}", source(Graph())))
