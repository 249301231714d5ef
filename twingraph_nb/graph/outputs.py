"""The value of a component by its output ports, and back."""

from __future__ import annotations

from collections.abc import Mapping

from twingraph_nb.component import Component
from twingraph_nb.errors import ResultError
from twingraph_nb.graph.remote_value import RemoteValue
from twingraph_nb.graph.summary import summaries, summary

__all__ = ["by_port", "texts_of", "whole"]


def by_port(component: Component, value: object) -> dict[str, object]:
    """Give the value of each output port.

    Raises:
        ResultError: the component has several outputs, and the value lacks one of them.
    """
    ports = component.outputs
    if len(ports) == 1:
        return {ports[0].name: value}
    try:
        if isinstance(value, Mapping):
            return {p.name: value[p.name] for p in ports}
        return {p.name: getattr(value, p.name) for p in ports}
    except (KeyError, AttributeError):
        names = ", ".join(p.name for p in ports)
        raise ResultError(
            f"{component.name} must give {names}, but gave {type(value).__name__}"
        ) from None


def texts_of(component: Component, value: object) -> dict[str, str] | None:
    """Give a short text of each output; None for the single output None."""
    if len(component.outputs) == 1:
        return None if value is None else {component.outputs[0].name: summary(value)}
    if isinstance(value, RemoteValue):
        return {port.name: value.about for port in component.outputs}
    return summaries(by_port(component, value))


def whole(component: Component, values: Mapping[str, object]) -> object:
    """Put the outputs together as the component gives them."""
    ports = component.outputs
    if len(ports) == 1:
        return values[ports[0].name]
    made = getattr(component.function, "__annotations__", {}).get("return")
    if isinstance(made, type) and hasattr(made, "_fields"):
        return made(**values)
    return dict(values)
