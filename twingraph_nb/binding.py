"""From positional and keyword arguments to the values of ports by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from twingraph_nb.errors import ArgumentError, suggestion
from twingraph_nb.source.ports import Port

__all__ = ["bind_ports", "described"]


def bind_ports(
    name: str,
    ports: Sequence[Port],
    signature: Callable[[], str],
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
) -> dict[str, object]:
    """Give the arguments by port; see `Component.bind`.

    Args:
        name, signature: of the component, for errors.
    Raises:
        ArgumentError: an argument is missing, surplus or unknown.
    """
    plain = [p for p in ports if not p.variadic and not p.keyword_only]
    rest = next((p for p in ports if p.variadic == "*"), None)
    extra = next((p for p in ports if p.variadic == "**"), None)
    bound: dict[str, object] = {p.name: v for p, v in zip(plain, args, strict=False)}
    if len(args) > len(plain):
        if rest is None:
            raise ArgumentError(name, f"takes {len(plain)} arguments, got {len(args)}", signature())
        bound[rest.name] = tuple(args[len(plain) :])
    known = {p.name for p in ports if not p.variadic}
    surplus: dict[str, object] = {}
    for key, value in kwargs.items():
        if key in bound:
            raise ArgumentError(name, f"got {key!r} twice", signature())
        if key in known:
            bound[key] = value
        elif extra is not None:
            surplus[key] = value
        else:
            near = suggestion(key, known)
            raise ArgumentError(name, f"has no input {key!r}{near}", signature())
    if surplus and extra is not None:
        bound[extra.name] = surplus
    missing = [p.name for p in ports if p.required and p.name not in bound]
    if missing:
        raise ArgumentError(name, f"needs {', '.join(map(repr, missing))}", signature())
    return bound


def described(thing: object, *, short: bool = False) -> str:
    """Give in a few words what was given in place of a function."""
    if isinstance(thing, type):
        return thing.__name__ if short else f"the class {thing.__name__}"
    name = getattr(thing, "__name__", type(thing).__name__)
    return name if short else f"{name} ({type(thing).__name__})"
