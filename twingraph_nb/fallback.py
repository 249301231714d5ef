"""What stands in for a component when all of its attempts have failed. Data only."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeGuard

from twingraph_nb.errors import DefinitionError, suggestion
from twingraph_nb.source.ports import Port, input_ports

__all__ = ["NO_FALLBACK", "check_fallback", "described_fallback", "is_component", "is_function"]

_SHOWN = 60
"""Characters of a fallback's value in texts about it."""


class _NoFallback:
    """Says that a component has none: None is a value like any other."""

    def __repr__(self) -> str:
        return "no fallback"


NO_FALLBACK: Final = _NoFallback()


class _Component(Protocol):
    """What has to be known of a component here."""

    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> tuple[Port, ...]: ...
    @property
    def digest(self) -> str: ...


def is_component(fallback: object) -> TypeGuard[_Component]:
    """Tell whether another component stands in."""
    return all(hasattr(fallback, name) for name in ("name", "inputs", "digest", "platform"))


def is_function(fallback: object) -> TypeGuard[Callable[..., object]]:
    """Tell whether a function of the same inputs stands in."""
    return inspect.isfunction(fallback)


def described_fallback(fallback: object) -> str:
    """Give a fallback in a few words: ``component backup``, ``function zero`` or ``value 0``."""
    if is_component(fallback):
        return f"component {fallback.name}"
    if is_function(fallback):
        return f"function {fallback.__name__}"
    try:
        said = repr(fallback)
    except Exception as exc:  # a user's __repr__ may raise anything
        said = f"<its repr raised {type(exc).__name__}>"
    return f"value {said if len(said) <= _SHOWN else said[: _SHOWN - 3] + '...'}"


def check_fallback(where: str, inputs: Sequence[Port], fallback: object) -> None:
    """See that what stands in can be called with what the component is called with.

    Args:
        where: what to call the component in an error.
        inputs: its inputs.
    Raises:
        DefinitionError: it cannot.
    """
    if is_component(fallback):
        wanted = fallback.inputs
    elif is_function(fallback):
        wanted = input_ports(fallback)
    elif callable(fallback) and not isinstance(fallback, _NoFallback):
        kind = getattr(fallback, "__name__", type(fallback).__name__)
        raise DefinitionError(
            f"{where}: fallback wants a component, a function or a plain value, not {kind}; "
            f"wrap it: `lambda x: {kind}(x)`"
        )
    else:
        return
    names = [port.name for port in inputs]
    for port in wanted:
        if port.required and not port.variadic and port.name not in names:
            raise DefinitionError(
                f"{where}: the fallback ({described_fallback(fallback)}) wants an input "
                f"{port.name!r}{suggestion(port.name, names)}, which is none of "
                f"{', '.join(names) or 'its own'}"
            )
