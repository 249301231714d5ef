"""Arguments to bytes and bytes to a result, for one component."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Literal

from twingraph_nb.component import Component
from twingraph_nb.errors import PortTypeError, ResultError
from twingraph_nb.languages.fields import Slot, call_of, result_of
from twingraph_nb.languages.kinds import Kind, Misfit, fit, kind_of
from twingraph_nb.languages.packed import pack, unpack
from twingraph_nb.languages.plain import dump, load
from twingraph_nb.outputs import outputs as named
from twingraph_nb.source.ports import type_text

__all__ = ["Codec", "Form"]

Form = Literal["packed", "json", "fields"]
"""How values are written; each has a module of its own that says so."""
_ANY = Kind("any")


class Codec:
    """Knows the ports of a component, and how its language wants values."""

    def __init__(self, component: Component, form: Form) -> None:
        self._component, self._form = component, form
        self._inputs = [(p, kind_of(p.type) or _ANY) for p in component.inputs]
        self._kinds = [kind for _, kind in self._inputs]
        self._outputs: list[Slot] = [(p.name, kind_of(p.type) or _ANY) for p in component.outputs]
        self._streams = component.style == "stream"

    def arguments(self, given: Mapping[str, object]) -> bytes:
        """Give the body of a call.

        Raises:
            PortTypeError: an argument does not fit its port.
        """
        values, port = [], None
        try:
            for port, kind in self._inputs:
                value = given.get(port.name, port.default)
                values.append(fit(kind, value, port.name))
            return self._written(values)
        except Misfit as exc:
            assert port is not None
            wanted = str(exc.kind)
            raise PortTypeError(
                self._component.name,
                _port_in(exc.path),
                wanted,
                exc.given,
                _place(exc.path),
            ) from None
        except (UnicodeEncodeError, RecursionError, struct.error) as exc:
            raise self._unsendable(values, exc) from None

    def result(self, body: bytes) -> object:
        """Give the value that a component ends with.

        Raises:
            ResultError: it does not fit the output ports.
        """
        slots = [("value", _ANY)] if self._streams else self._outputs
        return self._read(body, slots)

    def chunk(self, body: bytes) -> object:
        """Give one value of a stream.

        Raises:
            ResultError: it does not fit the output port.
        """
        name, kind = self._outputs[0]
        return self._read(body, [(f"a chunk of {name}", kind.items[0] if kind.items else _ANY)])

    def _written(self, values: list[object]) -> bytes:
        if self._form == "packed":
            return pack(self._kinds, values)
        if self._form == "json":
            return dump(values)
        slots = [(p.name, kind) for p, kind in self._inputs]
        return call_of(slots, values, self._outputs)

    def _unsendable(self, values: list[object], exc: Exception) -> PortTypeError:
        """The error that names the first input that cannot be written alone."""
        for (port, kind), value in zip(self._inputs, values, strict=False):
            try:
                pack([kind], [value]) if self._form == "packed" else dump(value).decode()
                str(value).encode()
            except (UnicodeEncodeError, RecursionError, struct.error):
                return PortTypeError(
                    self._component.name,
                    port.name,
                    type_text(port.type),
                    _WHY[type(exc)],
                    "the call",
                )
        return PortTypeError(self._component.name, "?", "plain data", _WHY[type(exc)], "the call")

    def _read(self, body: bytes, slots: list[Slot]) -> object:
        who = self._component.name
        try:
            values = self._values(body, slots)
            fitted = [
                fit(kind, value, name) for (name, kind), value in zip(slots, values, strict=True)
            ]
        except Misfit as exc:
            raise ResultError(
                f"{who}: output {exc.path} wants {exc.kind}, but is {exc.given}"
            ) from None
        except (ValueError, RecursionError) as exc:
            language = self._component.language
            raise ResultError(f"{who}: what {language} gave cannot be read: {exc}") from None
        if len(slots) == 1:
            return fitted[0]
        return named(who, **{name: one for (name, _), one in zip(slots, fitted, strict=True)})

    def _values(self, body: bytes, slots: list[Slot]) -> list[object]:
        if self._form == "packed":
            return unpack([kind for _, kind in slots], body)
        if self._form == "fields":
            return result_of(slots, body)
        found = load(body)
        if len(slots) == 1:
            return [found]
        names = [name for name, _ in slots]
        if isinstance(found, dict) and set(names) <= set(found):
            return [found[name] for name in names]
        if isinstance(found, list) and len(found) == len(names):
            return found
        raise ValueError(
            f"it must be an object with {', '.join(names)}, or a list of them in order"
        )


_WHY: Mapping[type, str] = {
    UnicodeEncodeError: "a text with half a surrogate pair, which is no UTF-8",
    RecursionError: "a value that is nested too deeply",
    struct.error: "more than 4 GiB",
}


def _place(path: str) -> str:
    return "the call" if path.isidentifier() else f"the call, {path},"


def _port_in(path: str) -> str:
    return path.removeprefix("a key of ").partition("[")[0]
