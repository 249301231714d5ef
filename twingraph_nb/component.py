"""Components and pipelines: what a call runs, where, and under which policy."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from twingraph_nb.binding import bind_ports, described
from twingraph_nb.errors import ArgumentError, DefinitionError
from twingraph_nb.fallback import check_fallback
from twingraph_nb.platform_choice import check_platform
from twingraph_nb.platforms import PLATFORMS
from twingraph_nb.policy import (
    DEFAULT_POLICY,
    DEFAULT_RUN,
    Policy,
    RunOptions,
    read_options,
    read_run_options,
)
from twingraph_nb.selection import Names, Selection, read_selection
from twingraph_nb.source.ports import ANY, Port, input_ports, output_ports
from twingraph_nb.source.text import Source, source_of

__all__ = [
    "Component",
    "Pipeline",
    "Shelf",
    "make_component",
    "make_pipeline",
    "shelf",
]

Style = Literal["sync", "async", "stream", "async_stream"]


@dataclass(frozen=True, slots=True, eq=False)
class Component:
    """A typed, versioned unit of work. Calling it gives a task at once."""

    name: str
    function: Callable[..., object]
    source: Source
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    style: Style
    platform: str = "local"
    policy: Policy = DEFAULT_POLICY
    options: Mapping[str, object] = field(default_factory=dict)
    language: str = "python"
    version: int = 1
    digest: str = ""
    """sha256 over all of the above: a component that differs in anything is another one."""
    _names: tuple[str, ...] = field(init=False, repr=False)
    _simple: bool = field(init=False, repr=False)
    plain: bool = field(init=False, repr=False)
    """True when every input can be given by name."""
    ordered: tuple[tuple[str, bytes], ...] = field(init=False, repr=False)
    """The inputs' names in alphabetical order, as texts and as bytes."""
    quick: bool = field(init=False, repr=False)
    """True when nothing stands between a call that is ready and its start: no limit, no cache."""
    typed: bool = field(init=False, repr=False)
    """True when some input has a type."""
    memo: dict[str, object] = field(init=False, repr=False)
    """What others derived from it, kept as long as it lives."""

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "memo", {})
        check_fallback(self.name, self.inputs, self.policy.fallback)
        waits = self.policy.watched or self.policy.limited
        put(self, "quick", self.platform == "local" and not waits)
        put(self, "typed", any(p.type is not ANY for p in self.inputs))
        put(self, "_names", tuple(p.name for p in self.inputs))
        put(self, "_simple", not any(p.variadic or p.keyword_only for p in self.inputs))
        put(self, "plain", not any(p.variadic for p in self.inputs))
        put(self, "ordered", tuple((name, name.encode()) for name in sorted(self._names)))
        if not self.digest:
            put(self, "digest", self._own_digest())

    def __call__(self, *args: object, parent_hash: object = None, **kwargs: object) -> object:
        """Start a task of this component; inputs may be tasks or their outputs.

        Returns:
            The task, at once. Await it, or take its `.result()`.
        Raises:
            ArgumentError: an argument is missing, surplus or unknown.
            PortTypeError: a task's output does not fit the input it is given to.
        """
        return shelf.caller.call(self, self.bind(args, kwargs), parent_hash)

    def map(self, items: object, /, *, parent_hash: object = None, **common: object) -> object:
        """Start one task for each item, drawn as one group; gives the group's task at once.

        However many items there are, no more than `window` are tasks at a time: the next is made
        when one has ended. An iterator is read as far as that needs, in a thread.

        Args:
            items: an iterable, or a task (or output) that gives one. Each item goes to the
                first input; a tuple is not spread.
            common: further inputs, the same for each item; and, unless inputs are called so,
                `window` (4,096 if not given) and `collect` (False: keep no results).
        Returns:
            A task whose result is the list of results, in the order of the items; with
            `collect=False` their number.
        """
        return shelf.caller.map(self, items, common, parent_hash)

    def imap(self, items: object, /, *, parent_hash: object = None, **common: object) -> object:
        """Give the results of `map` one after the other: ``for`` or ``async for`` over it.

        The loop drives the map: it begins with the loop, makes no more than `window` results
        that the loop has not read, and is cancelled when the loop is left.
        """
        return shelf.caller.imap(self, items, common, parent_hash)

    def on(self, platform: str | None = None, **options: object) -> Component:
        """Give this component with another platform or other options.

        Raises:
            PortabilityError: it has captured what cannot travel there.
        """
        chosen = check_platform(platform or self.platform, where=self.name, language=self.language)
        policy, rest = read_options(
            {**options}, where=self.name, start=self.policy, platform=chosen
        )
        made = replace(
            self, platform=chosen, policy=policy, options={**self.options, **rest}, digest=""
        )
        if chosen != self.platform or rest:
            _check_travel(made)
        return made

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        """Give the arguments by input name, defaults left out.

        What goes to ``*args`` is one tuple, what goes to ``**kwargs`` one dict.

        Raises:
            ArgumentError: an argument is missing, surplus or unknown.
        """
        names = self._names
        if not kwargs and len(args) == len(names) and self._simple:
            return dict(zip(names, args, strict=True))
        return bind_ports(self.name, self.inputs, lambda: self.signature, args, kwargs)

    def _own_digest(self) -> str:
        facts = (
            self.name,
            self.source.digest,
            self.language,
            self.platform,
            sorted(self.policy.changed().items()),
            sorted((k, repr(v)) for k, v in self.options.items()),
            [str(p) for p in self.inputs],
            [str(p) for p in self.outputs],
        )
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    def spread(self, bound: Mapping[str, object]) -> tuple[tuple[object, ...], dict[str, object]]:
        """Turn what `bind` gave back into positional and keyword arguments."""
        if self.plain:
            return (), dict(bound)
        args: list[object] = []
        kwargs: dict[str, object] = {}
        starred = bound.get(next((p.name for p in self.inputs if p.variadic == "*"), ""), ())
        for port in self.inputs:
            if port.name not in bound:
                continue
            if port.variadic == "*":
                args.extend(starred)  # type: ignore[arg-type]
            elif port.variadic == "**":
                kwargs.update(bound[port.name])  # type: ignore[call-overload]
            elif starred and not port.keyword_only:
                args.append(bound[port.name])
            else:
                kwargs[port.name] = bound[port.name]
        return tuple(args), kwargs

    @property
    def signature(self) -> str:
        """The ports as text: ``(raw, threshold=0.5) -> rows, dropped``."""
        ins = ", ".join(
            str(p) if p.required or p.variadic else f"{p}={p.default!r}" for p in self.inputs
        )
        return f"({ins}) -> {', '.join(str(p) for p in self.outputs)}"

    def __repr__(self) -> str:
        return f"<component {self.name}{self.signature} on {self.platform}, v{self.version}>"


@dataclass(frozen=True, slots=True, eq=False)
class Pipeline:
    """A function that calls components. Calling it starts a run."""

    name: str
    function: Callable[..., object]
    source: Source
    inputs: tuple[Port, ...]
    is_async: bool
    options: RunOptions = DEFAULT_RUN

    def __call__(self, *args: object, parent_hash: object = None, **kwargs: object) -> object:
        """Start a run at once; inside another pipeline, start it as a group of that run.

        Returns:
            The run (or, inside a pipeline, the group's task). Await it, or take `.result()`.
        Raises:
            ArgumentError: an argument is missing, surplus or unknown.
        """
        self._check(args, kwargs)
        return shelf.caller.start(self, args, kwargs, parent_hash)

    def plan(
        self,
        *args: object,
        resume: str = "",
        only: Names | None = None,
        to: Names | None = None,
        skip: Names | None = None,
        force: Names | None = None,
        from_: Names | None = None,
        **kwargs: object,
    ) -> object:
        """Give what a call with these arguments would run, reuse or cannot tell yet, and why.

        Its function is called, its components are not: what is kept has its value, and where the
        function looks at a value that has yet to be made, the plan ends and says so.

        Args:
            resume, only, to, skip, force, from_: see `run`.
        Raises:
            ArgumentError, RunError, WiringError: see `run`.
            Exception: what the pipeline's function raises.
        """
        given = {"only": only, "to": to, "skip": skip, "force": force, "from_": from_}
        selected = self._selected(args, kwargs, resume, given)
        return shelf.planner(self, (args, kwargs), resume, selected)

    def run(
        self,
        *args: object,
        resume: str = "",
        only: Names | None = None,
        to: Names | None = None,
        skip: Names | None = None,
        force: Names | None = None,
        from_: Names | None = None,
        **kwargs: object,
    ) -> object:
        """Start a run as a call does, with a say in what runs and what it takes over.

        Names are those of components, pipelines and blocks inside, ``name[3]`` for a map's item,
        patterns with ``*`` and ``?``, or several in a list; `twingraph_nb.selection` says more.
        An input of the pipeline that is called like one of these is given by position.

        Args:
            resume: what this run has finished is taken over: an id, the start of one, or "last".
            only: just these run; what they get is taken from the store.
            to: these run, with what they need.
            skip: these do not run; their values are taken from the store, or what gets them is
                skipped as well.
            force: these run even if their values are kept, and all that gets their values.
            from_: the same, and all else is reused if it is kept at all.
        Returns:
            The run, at once. `plan` with the same arguments says what it will do. Its result is
            None if something is left out of what the pipeline returns: `run.tasks[name].result()`.
        Raises:
            ArgumentError: an argument is missing, surplus or unknown, or called like an option.
            RunError: the run to be resumed is not known, still runs, or is resumed elsewhere.
            WiringError: nothing is called what a selector names.
        """
        given = {"only": only, "to": to, "skip": skip, "force": force, "from_": from_}
        selected = self._selected(args, kwargs, resume, given)
        return shelf.starter(self, args, kwargs, resume, selected)

    def _selected(
        self,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        resume: str,
        given: Mapping[str, object],
    ) -> Selection:
        found = read_selection(given)
        for name in {*found.named, *["resume"] * bool(resume)}:
            if name in [port.name for port in self.inputs[len(args) :]]:
                what = f"{name!r} is an input of it and an option here: give the input by position"
                raise ArgumentError(self.name, what, str(inspect.signature(self.function)))
        self._check(args, kwargs)
        return found

    def _check(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        plain = not any(port.variadic or port.keyword_only for port in self.inputs)
        if plain and not kwargs and len(args) == len(self.inputs):
            return
        try:
            inspect.signature(self.function).bind(*args, **kwargs)
        except TypeError as exc:
            signature = str(inspect.signature(self.function))
            raise ArgumentError(self.name, str(exc), signature) from None

    def __repr__(self) -> str:
        return f"<pipeline {self.name}({', '.join(map(str, self.inputs))})>"


_Bound = dict[str, object]


class Caller(Protocol):
    """What happens on a call; the session is one."""

    def call(self, component: Component, bound: _Bound, parent: object) -> object: ...
    def map(self, component: Component, items: object, more: _Bound, parent: object) -> object: ...
    def imap(self, component: Component, items: object, more: _Bound, parent: object) -> object: ...
    def block(self, name: str, block: Any) -> object: ...
    def start(
        self, pipeline: Pipeline, args: tuple[object, ...], kwargs: _Bound, parent: object
    ) -> object: ...


class _NoSession:
    def __call__(self, *asked: object) -> object:
        raise DefinitionError("no session: import twingraph_nb before a pipeline is planned")

    def __getattr__(self, name: str) -> object:
        raise DefinitionError("no session: import twingraph_nb before a component is called")


class Shelf:
    """The components of this session by name, and who carries out their calls."""

    def __init__(self) -> None:
        self.components: dict[str, Component] = {}
        self.pipelines: dict[str, Pipeline] = {}
        self.caller: Caller = _NoSession()  # type: ignore[assignment]
        self.planner: Callable[..., object] = _NoSession()
        self.starter: Callable[..., object] = _NoSession()

    def put(self, made: Component) -> Component:
        """Keep a component; it replaces one of its name, as its next version if it differs."""
        old = self.components.get(made.name)
        if old is not None:
            changed = old.digest != made.digest
            made = replace(made, version=old.version + 1 if changed else old.version)
        self.components[made.name] = made
        return made


shelf = Shelf()


def make_pipeline(
    function: Callable[..., object],
    *,
    name: str | None = None,
    options: Mapping[str, object] | None = None,
    source: Source | None = None,
) -> Pipeline:
    """Make a pipeline; what the decorator and the cell magic have in common.

    Args:
        source: its source if known better than by `inspect`.
    Raises:
        DefinitionError: not a function, or an unknown option.
    """
    if not inspect.isfunction(function):
        raise DefinitionError(f"a pipeline is made of a function, not of {described(function)}")
    source = source or source_of(function)
    name = name or function.__name__
    made = Pipeline(
        name,
        function,
        source,
        input_ports(function),
        inspect.iscoroutinefunction(function),
        read_run_options(options or {}, where=f"pipeline {name} ({source.where})"),
    )
    shelf.pipelines[made.name] = made
    return made


def make_component(
    function: Callable[..., object],
    *,
    name: str | None = None,
    platform: str = "local",
    options: Mapping[str, object] | None = None,
    source: Source | None = None,
    outputs: tuple[Port, ...] | None = None,
    keep: bool = True,
) -> Component:
    """Make a component; what the decorators and the cell magic have in common.

    Args:
        source: its source if known better than by `inspect`.
        outputs: its output ports if known better than by its annotations.
        keep: put it on the session's shelf.
    Raises:
        DefinitionError: not a function, an unknown option, or a platform that is not there.
        PortabilityError: it has captured what cannot travel to its platform.
    """
    if isinstance(function, Component):
        raise DefinitionError(f"{function.name} is a component already")
    if not inspect.isfunction(function):
        raise DefinitionError(
            f"a component is made of a function, not of {described(function)}; "
            f"wrap it: `def step(x): return {described(function, short=True)}(x)`"
        )
    source = source or source_of(function)
    name = name or function.__name__
    where = f"component {name} ({source.where})"
    platform = check_platform(platform, where=where)
    policy, rest = read_options(dict(options or {}), where=where, platform=platform)
    made = Component(
        name,
        function,
        source,
        input_ports(function),
        outputs or output_ports(function),
        _style(function),
        platform,
        policy,
        rest,
    )
    _check_travel(made)
    return shelf.put(made) if keep else made


def _check_travel(made: Component) -> None:
    """Refuse at once what can never reach the platform; before dispatch all is checked again."""
    if made.platform == "local" or made.platform not in PLATFORMS or made.language != "python":
        return  # what platforms of other packages can take is theirs to say
    early = importlib.import_module("twingraph_nb.source.early")  # only for who goes elsewhere
    early.check_lasting(
        made.function, made.source, name=made.name, platform=made.platform, options=made.options
    )


def _style(function: Callable[..., object]) -> Style:
    if inspect.isasyncgenfunction(function):
        return "async_stream"
    if inspect.isgeneratorfunction(function):
        return "stream"
    return "async" if inspect.iscoroutinefunction(function) else "sync"
