"""Options of a cell's line that name things of the notebook."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from twingraph_nb.breaker import Breaker
from twingraph_nb.errors import DefinitionError, suggestion

__all__ = ["with_objects"]


def with_objects(
    options: Mapping[str, object], names: Mapping[str, object], where: str
) -> dict[str, object]:
    """Give the options with what they name in place of the names.

    ``--fallback`` is the name of a component, a function or a value, or a plain literal;
    ``--breaker`` may be the name of a `Breaker`.

    Args:
        names: what the notebook has defined.
        where: what to call the cell in an error.
    Raises:
        DefinitionError: a fallback is neither.
    """
    found = dict(options)
    if isinstance(text := options.get("fallback"), str):
        found["fallback"] = names[text] if text in names else _literal(text, names, where)
    if isinstance(text := options.get("breaker"), str):
        named = names.get(text)
        found["breaker"] = named if isinstance(named, Breaker) else text
    return found


def _literal(text: str, names: Mapping[str, object], where: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise DefinitionError(
            f"{where}: --fallback {text!r} is nothing the notebook has defined"
            f"{suggestion(text, names)}, and no literal such as 0, \"'text'\" or [1, 2]"
        ) from None
