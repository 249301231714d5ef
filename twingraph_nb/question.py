"""A question to a person: what may be answered, and what an answer means. Pure."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from twingraph_nb.errors import suggestion
from twingraph_nb.events import (
    Answered,
    Asked,
    Batch,
    Event,
    TaskAdded,
    TaskCancelled,
    TaskDone,
    TaskErred,
    TaskReused,
    TaskSkipped,
)

__all__ = ["FIELD_TYPES", "Kind", "Pending", "Question", "Questions", "pending", "terms"]

Kind = Literal["approval", "text", "choice", "multi", "form"]
Spec = str | tuple[object, ...]
"""What a field of a form takes: a name of `FIELD_TYPES`, or the options to choose from."""
FIELD_TYPES: Mapping[type, str] = {str: "text", int: "int", float: "float", bool: "bool"}
"""How the types of a form's fields are written down."""
_DAY = 86_400.0  # seconds
_YES = frozenset({"yes", "y", "true", "ok", "approve", "approved"})
_NO = frozenset({"no", "n", "false", "reject", "rejected", "deny"})
_OVER = frozenset({TaskDone, TaskReused, TaskErred, TaskCancelled, TaskSkipped})


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. options: of choice and multi. fields: of a form, by name."""

    prompt: str
    kind: Kind = "approval"
    options: tuple[object, ...] = ()
    fields: Mapping[str, Spec] | None = None

    @classmethod
    def of(
        cls, prompt: object, kind: object, options: object = (), fields: object = None
    ) -> Question:
        """Give the question that these words mean.

        Raises:
            ValueError: they do not fit together; says how they would.
        """
        if kind not in get_args(Kind):
            near = suggestion(str(kind), get_args(Kind))
            raise ValueError(f"kind={kind!r} is none of {', '.join(get_args(Kind))}{near}")
        chosen = _options(options) if options else ()
        if kind in ("choice", "multi") and not chosen:
            raise ValueError(f"kind={kind!r} wants options=[...] to choose from")
        if kind not in ("choice", "multi") and chosen:
            raise ValueError(f"kind={kind!r} takes no options; kind='choice' does")
        if (kind == "form") != bool(fields):
            raise ValueError("fields={name: type, ...} and kind='form' belong together")
        named = _fields(fields) if fields else None
        return cls(str(prompt), kind, chosen, named)  # type: ignore[arg-type]

    @classmethod
    def recorded(cls, event: Asked) -> Question:
        """Give the question that an event tells of; its options are texts."""
        return cls(event.prompt, event.wants, event.options, event.fields)

    def read(self, given: object) -> object:
        """Give the answer's value: True or False, a text, an option, a list of them, or a dict.

        Args:
            given: the value, or text as people type it: `yes`, `no`; an option; options with
                commas between them; a form as a JSON object.
        Raises:
            ValueError: it does not answer the question; a sentence for the person who answered.
        """
        if self.kind == "approval":
            return _bool(given)
        if self.kind == "text":
            return _text(given)
        if self.kind == "choice":
            return _option(given, self.options)
        if self.kind == "multi":
            return self._several(given)
        return self._form(given)

    @property
    def wanted(self) -> str:
        """What an answer looks like, in a few words."""
        if self.kind == "approval":
            return "yes or no"
        if self.kind == "text":
            return "a text"
        if self.kind == "form":
            parts = [f"{name}: {_spec_text(spec)}" for name, spec in (self.fields or {}).items()]
            return f"a JSON object of {', '.join(parts)}"
        listed = ", ".join(map(str, self.options))
        return f"one of {listed}" if self.kind == "choice" else f"some of {listed}"

    def _several(self, given: object) -> list[object]:
        if isinstance(given, str):
            if given.lstrip().startswith("["):
                given = _json(given, "a list")
            else:
                given = [part.strip() for part in given.split(",") if part.strip()]
        if not isinstance(given, (list, tuple, set, frozenset)):
            raise ValueError(f"{given!r} is no list of {self._listed()}")
        chosen = [_option(one, self.options) for one in given]
        return [option for option in self.options if option in chosen]

    def _form(self, given: object) -> dict[str, object]:
        fields = self.fields or {}
        if isinstance(given, str):
            given = _json(given, "an object")
        if not isinstance(given, Mapping):
            raise ValueError(f"a form wants a JSON object with {', '.join(fields)}, not {given!r}")
        for name in given:
            if name not in fields:
                known = ", ".join(fields)
                raise ValueError(f"no field {name!r}{suggestion(str(name), fields)}; {known}")
        missing = [name for name in fields if name not in given]
        if missing:
            raise ValueError(f"no answer for {', '.join(missing)}")
        return {name: _field(name, spec, given[name]) for name, spec in fields.items()}

    def _listed(self) -> str:
        return ", ".join(map(str, self.options))


def _bool(given: object) -> bool:
    if isinstance(given, bool):
        return given
    word = given.strip().casefold() if isinstance(given, str) else ""
    if word in _YES or word in _NO:
        return word in _YES
    raise ValueError(f"{given!r} is neither yes nor no")


def _text(given: object) -> str:
    if isinstance(given, str):
        return given
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return str(given)  # a file of answers reads 12 as a number
    raise ValueError(f"{given!r} is no text")


def _option(given: object, options: Sequence[object]) -> object:
    for option in options:
        if type(option) is type(given) and option == given:
            return option
    word = str(given).strip()
    exact = [option for option in options if str(option) == word]
    found = exact or [option for option in options if str(option).casefold() == word.casefold()]
    if len(found) == 1:
        return found[0]
    names = [str(option) for option in options]
    raise ValueError(f"{word!r} is none of {', '.join(names)}{suggestion(word, names)}")


def _field(name: str, spec: Spec, given: object) -> object:
    try:
        if not isinstance(spec, str):
            return _option(given, spec)
        if spec == "bool":
            return _bool(given)
        if spec == "text":
            return _text(given)
        return _number(spec, given)
    except ValueError as exc:
        raise ValueError(f"{name}: {exc}") from None


def _number(spec: str, given: object) -> int | float:
    number = int if spec == "int" else float
    if isinstance(given, (str, int, float)) and not isinstance(given, bool):
        try:
            found = number(given)
        except (ValueError, OverflowError):
            found = None
        if found is not None and (isinstance(given, str) or found == given):
            return found
    raise ValueError(f"{given!r} is no {'whole number' if spec == 'int' else 'number'}")


def _json(text: str, what: str) -> object:
    try:
        return json.loads(text)
    except ValueError as exc:
        raise ValueError(f"{text!r} is not {what} in JSON: {exc}") from None


def _options(options: object) -> tuple[object, ...]:
    if isinstance(options, (str, bytes)) or not isinstance(options, Iterable):
        raise ValueError(f"options wants a list, not {options!r}")
    found = tuple(options)
    if len({str(option) for option in found}) < len(found):
        raise ValueError("options that read alike cannot be told apart")
    return found


def _fields(fields: object) -> dict[str, Spec]:
    if not isinstance(fields, Mapping):
        raise ValueError(f"fields wants {{name: type, ...}}, not {fields!r}")
    found: dict[str, Spec] = {}
    for name, spec in fields.items():
        if isinstance(spec, type) and spec in FIELD_TYPES:
            found[str(name)] = FIELD_TYPES[spec]
        elif isinstance(spec, str) and spec in FIELD_TYPES.values():
            found[str(name)] = spec
        elif isinstance(spec, (list, tuple)) and spec:
            found[str(name)] = _options(spec)
        else:
            raise ValueError(
                f"field {name!r} takes str, int, float, bool or a list of options, not {spec!r}"
            )
    return found


def _spec_text(spec: Spec) -> str:
    return spec if isinstance(spec, str) else " | ".join(map(str, spec))


# -- what a log says of questions -----------------------------------------------------------------


@dataclass(slots=True)
class Pending:
    """A question in a run's log. name: of its task. first: who answered. over: its task ended."""

    name: str
    asked: Asked
    first: Answered | None = None
    over: bool = False


def terms(asked: Asked) -> str:
    """Say what happens to a question that nobody answers, and when; "" if it waits for ever."""
    if asked.deadline is None:
        return ""
    what = "it fails" if asked.default is None else asked.default
    far = asked.deadline - asked.at > _DAY
    when = time.strftime("%Y-%m-%d %H:%M" if far else "%H:%M:%S", time.localtime(asked.deadline))
    return f"{what} if nobody answers by {when}"


class Questions:
    """The questions of one run, by the number of their tasks.

    read: how many of the run's events have been taken in.
    """

    def __init__(self) -> None:
        self.found: dict[int, Pending] = {}
        self.read = 0
        self._names: dict[int, str] = {}

    def take(self, batches: Iterable[Batch]) -> None:
        """Take in what has happened since the last time."""
        for batch in batches:
            self.read = batch.seq + len(batch.events)
            for event in batch.events:
                self._take(event)

    def _take(self, event: Event) -> None:
        kind = type(event)
        if kind is TaskAdded:
            self._names[event.task] = event.name  # type: ignore[attr-defined]
        elif isinstance(event, Asked):
            name = self._names.get(event.task, "ask")
            self.found[event.task] = Pending(name, event)
        elif isinstance(event, Answered):
            if event.task in self.found:
                self.found[event.task].first = event
        elif kind in _OVER and event.task in self.found:  # type: ignore[attr-defined]
            self.found[event.task].over = True  # type: ignore[attr-defined]


def pending(batches: Iterable[Batch]) -> dict[int, Pending]:
    """Give every question of a run by the number of its task, as its log has it."""
    questions = Questions()
    questions.take(batches)
    return questions.found
