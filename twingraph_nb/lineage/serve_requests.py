"""What a served graph answers to one request: frames with results, or one that says what is wrong.

A request that changes the graph is a transaction: it has its results ready before it is kept, and
one that fails leaves nothing. Such requests take turns. Those that only read wait for nobody, and
see what is there, as with TinkerGraph.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any
from uuid import UUID

from gremlin_python.process.traversal import (
    Binding,
    Bytecode,
    P,
    Traversal,
    TraversalStrategy,
)
from gremlin_python.statics import long
from gremlin_python.structure.io.util import HashableDict

from twingraph_nb.errors import LineageError
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.graphson import GraphSONError
from twingraph_nb.lineage.live import LiveGraph
from twingraph_nb.lineage.machine import answers, source
from twingraph_nb.lineage.problems import Failed, QueryStopped, ReadOnlyGraph, TimeLimit
from twingraph_nb.lineage.serve_frames import Form, Request, Unreadable, read_request, request_id
from twingraph_nb.lineage.serve_regex import Bounded, Search, Searchers
from twingraph_nb.lineage.serve_watch import Overdue, Watch
from twingraph_nb.lineage.signatures import MUTATING
from twingraph_nb.lineage.terminals import NoExplanation, taken
from twingraph_nb.lineage.text import Query, read_query
from twingraph_nb.lineage.traverser import Limits, Run

__all__ = ["Asked", "Frame", "Place", "Status", "framed"]

Frame = bytes | str
"""A message of a WebSocket."""

_BATCH = 64
"""Results in an answer where the client asks for no other number, as in Gremlin Server."""
_LARGEST_BATCH = 10_000
_FULL = 1 << 20
"""Bytes from which on an answer is sent, however few results it has: clients refuse large ones."""
_VALUES = frozenset({str, int, float, bool, long, type(None)})
"""Classes of most values; they are nothing that has parts."""
_REGEXES = ("regex", "notRegex")
_SESSIONS = "this server has no sessions: each request is a transaction of its own"


class Status:
    """Codes of the protocol. Source: TinkerPop, Provider Documentation."""

    SUCCESS, NOTHING, PARTIAL = 200, 204, 206
    UNAUTHORIZED, AUTHENTICATE = 401, 407
    MALFORMED, INVALID = 498, 499
    SERVER, FAIL_STEP, EVALUATION, TIMEOUT, SERIALIZATION = 500, 595, 597, 598, 599


class Invalid(LineageError):
    """A request that is well-formed and asks for what is not offered."""


class Place:
    """The graph that a server answers from.

    writable: whether clients may change it. searchers: what looks for regular expressions.
    """

    def __init__(self, graph: Graph | LiveGraph, *, writable: bool = False) -> None:
        self._given = graph
        self.writable = writable
        self.searchers = Searchers()
        self._turn = threading.Lock()

    def graph(self) -> Graph:
        """Give the graph as it is now."""
        return self._given.refresh() if isinstance(self._given, LiveGraph) else self._given

    @contextmanager
    def transaction(self, graph: Graph, seconds: float | None, watch: Watch) -> Iterator[None]:
        """Keep what is changed within, all of it or nothing.

        Args:
            watch: must not interrupt while it is kept or taken back.

        When others are at it all the time, that is a `TimeLimit`.
        """
        if not self._turn.acquire(timeout=-1 if seconds is None else seconds):
            raise TimeLimit("others change the graph", f"{seconds:g} s", "try again later")
        try:
            graph.begin()
            try:
                yield
                watch.spare()
            except BaseException:
                watch.spare()
                graph.rollback()
                raise
            graph.commit()
        finally:
            self._turn.release()


def framed(
    form: Form,
    id: UUID,
    code: int,
    text: str,
    host: str,
    items: Sequence[bytes] | None = None,
    problem: Exception | None = None,
) -> Frame:
    """Give the frame of an answer."""
    attributes: dict[str, object] = {"host": host}
    if problem is not None:
        attributes["exceptions"] = [type(problem).__name__]
    made = form.answer(id, code, text, attributes, items)
    return made.decode() if form.is_text else made


class Asked:
    """A request on its way to its answer."""

    def __init__(self, frame: Frame, place: Place, watch: Watch, limits: Limits, host: str) -> None:
        self._raw, self._watch = frame, watch
        self._place, self._limits, self._host = place, limits, host
        self._request: Request | None = None
        self._run: Run | None = None
        self._stopped = False
        self._whole = True
        self._size = _BATCH

    def stop(self) -> None:
        """Let it end early, from any thread; nobody waits for the answer."""
        self._stopped = True
        if self._run is not None:
            self._run.stop()

    def frames(self) -> Iterator[Frame]:
        """Give the frames of the answer; what is wrong is one of them."""
        try:
            self._request = request = read_request(self._raw)
            yield from self._answered(request)
        except Exception as exc:  # the client is told, the server goes on
            yield self.failure(exc)

    def failure(self, problem: Exception) -> Frame:
        """Give the frame that says what is wrong."""
        request = self._request
        if isinstance(problem, Unreadable):
            form, id, is_text = problem.form, problem.id, False
        elif request is not None:
            form, id, is_text = request.form, request.id, request.op == "eval"
        else:  # interrupted while it was read
            (id, form), is_text = request_id(self._raw), False
        code, text = told(problem, is_text=is_text)
        return framed(form, id, code, text, self._host, problem=problem)

    def _answered(self, request: Request) -> Iterator[Frame]:
        graph = self._watch.aside(self._place.graph)
        query = self._query(request, graph)
        code = query.traversal.bytecode if isinstance(query, Query) else query
        limits = self._configured(request, code)
        with closing(Search(self._place.searchers, limits.seconds)) as search:
            changing = surveyed(code, search.found)
            if changing and not self._place.writable:
                raise ReadOnlyGraph(changing)
            self._run = Run(graph, limits)
            if self._stopped:
                raise QueryStopped()
            found = answers(graph, code, limits, self._run)
            results: Iterator[Any] = found
            if isinstance(query, Query):
                results = taken((t.object for t in found for _ in range(t.bulk)), query)
            if not changing:
                yield from self._batches(request, results)
                return
            with self._place.transaction(graph, limits.seconds, self._watch):
                frames = list(self._batches(request, results))
        yield from frames

    def _query(self, request: Request, graph: Graph) -> Query | Bytecode:
        """What is asked, as text or as bytecode."""
        args, op, processor = request.args, request.op, request.processor
        if processor == "session" or op == "close" or "session" in args:
            raise Invalid(_SESSIONS)
        if (op, processor) not in {("eval", ""), ("bytecode", "traversal")}:
            where = f"processor {processor!r}" if processor else "the standard processor"
            raise Invalid(f"{where} has no operation {op!r} here; there are eval and bytecode")
        self._check_alias(args.get("aliases"))
        gremlin = args.get("gremlin")
        if op == "bytecode":
            if type(gremlin) is not Bytecode:
                raise Invalid("gremlin is no bytecode")
            return gremlin
        if not isinstance(gremlin, str):
            raise Invalid("gremlin is no text")
        bindings = args.get("bindings") or {}
        if not isinstance(bindings, dict) or not all(isinstance(key, str) for key in bindings):
            raise Invalid("bindings are a map of names to values")
        return read_query(gremlin, source(graph), bindings)

    def _check_alias(self, aliases: object) -> None:
        if aliases is None:
            return
        if not isinstance(aliases, dict):
            raise Invalid("aliases are a map of names to names")
        for alias, name in aliases.items():
            if alias != "g" or name != "g":
                raise Invalid(f"there is no traversal source {name!r} for {alias!r}; there is g")

    def _configured(self, request: Request, code: Bytecode) -> Limits:
        """Take in the options of the request; those of the traversal come first."""
        options = dict(request.args)
        for _, *args in code.source_instructions:
            for strategy in args:
                if getattr(strategy, "strategy_name", "") == "OptionsStrategy":
                    options |= strategy.configuration
        self._whole = options.get("materializeProperties") != "tokens"
        self._size = int(_number(options, "batchSize", _BATCH, _LARGEST_BATCH))
        most = self._limits.seconds
        wanted = _number(options, "evaluationTimeout", 0, None) / 1000
        seconds = min((one for one in (most, wanted) if one), default=None)
        for _, *args in code.source_instructions:
            for strategy in args:  # the engine heeds it, and must not be given more than this
                if "evaluationTimeout" in (getattr(strategy, "configuration", None) or {}):
                    strategy.configuration["evaluationTimeout"] = (seconds or 0) * 1000
        return dataclasses.replace(self._limits, seconds=seconds)

    def _batches(self, request: Request, results: Iterable[Any]) -> Iterator[Frame]:
        """The results in frames of the size that was asked for."""
        id, form, whole = request.id, request.form, self._whole
        held: list[bytes] = []
        size = 0
        for result in results:
            if len(held) >= self._size or size >= _FULL:
                yield framed(form, id, Status.PARTIAL, "", self._host, held)
                held, size = [], 0
            held.append(form.item(result, whole=whole))
            size += len(held[-1])
        if held:
            yield framed(form, id, Status.SUCCESS, "", self._host, held)
        else:
            yield framed(form, id, Status.NOTHING, "", self._host)


_CODES: tuple[tuple[type[Exception], int], ...] = (
    (Unreadable, Status.MALFORMED),
    (Invalid, Status.INVALID),
    (NoExplanation, Status.INVALID),
    (TimeLimit, Status.TIMEOUT),
    (Overdue, Status.TIMEOUT),
    (GraphSONError, Status.SERIALIZATION),
    (Failed, Status.FAIL_STEP),
)


def told(problem: Exception, *, is_text: bool) -> tuple[int, str]:
    """The code and the sentence that a client gets for an error."""
    usual = Status.EVALUATION if is_text else Status.SERVER
    code = next((code for kind, code in _CODES if isinstance(problem, kind)), usual)
    name = type(problem).__name__
    return code, str(problem) if isinstance(problem, LineageError) else f"{name}: {problem}"


def _number(options: dict[str, Any], name: str, default: float, most: float | None) -> float:
    """An option that is a number above 0, no more than `most`; 0 and null mean the default."""
    value = options.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise Invalid(f"{name} is a number, not {value!r}")
    if not value:
        return default
    if not 0 < value < 1e15:
        raise Invalid(f"{name} is a number above 0, not {value!r}")
    return value if most is None else min(value, most)


def parts(code: Bytecode) -> Iterator[Any]:
    """The traversals and predicates that a traversal is made of, however deep."""
    left: list[Any] = [code]
    while left:
        one = left.pop()
        kind = type(one)
        if kind is dict or kind is HashableDict:  # nothing that is looked for can be a key
            left += [value for value in one.values() if type(value) not in _VALUES]
        elif kind is list or kind is tuple or kind is set:
            left += [value for value in one if type(value) not in _VALUES]
        elif isinstance(one, Bytecode):
            yield one
            for _, *args in (*one.source_instructions, *one.step_instructions):
                left += args
        elif isinstance(one, P):
            yield one
            left += [one.value, one.other]
        elif isinstance(one, Binding):
            left.append(one.value)
        elif isinstance(one, TraversalStrategy):
            left.append(one.configuration)
        elif isinstance(one, Traversal):
            left.append(one.bytecode)


def surveyed(code: Bytecode, search: Callable[[str, str], bool]) -> str:
    """Bound the regular expressions of a traversal; gives a step that changes the graph, or ""."""
    changing = ""
    for part in parts(code):
        if isinstance(part, Bytecode):
            names = [name for name, *_ in (*part.source_instructions, *part.step_instructions)]
            changing = next((name for name in names if name in MUTATING), changing)
        elif isinstance(part, P) and part.operator in _REGEXES and isinstance(part.value, str):
            part.value = Bounded(part.value, search)
    return changing
