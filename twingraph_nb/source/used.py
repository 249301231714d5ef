"""What a component uses of its notebook, as a record has it: helpers, values, other components."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import ParamSpec

from twingraph_nb.source.digest import NotDigestable, definition_digest, digest_value
from twingraph_nb.source.reach import Reach

__all__ = ["Uses", "changed_uses", "used_text", "uses_of"]

P = ParamSpec("P")
Uses = Mapping[str, tuple[str, str]]
"""By name: (digest of its content, "" if that is not known; the source of a helper, or a value as
``= 2``, "" if it is not shown)."""
_LONGEST = 8_000
"""Characters of a helper's source that each run keeps of it; of a longer one only the digest."""
_DIGITS = 16
_NUMBERS = (int, float, complex, bool, type(None))


def uses_of(found: Reach, readable: Collection[str]) -> dict[str, tuple[str, str]]:
    """Give what a function uses that is defined beside it, by name.

    A value is shown only if it is a number: a text may be a secret.

    Args:
        found: what it reaches. readable: names of those of its values whose content may be read.
    """
    uses: dict[str, tuple[str, str]] = {}
    for name, thing in found.functions.items():
        text = found.texts.get(name, "")
        digest = _digest(definition_digest, thing, text)
        uses[name] = digest, text if len(text) <= _LONGEST else ""
    for name, component in found.components.items():
        told = getattr(component, "digest", "") or component.source.digest  # type: ignore[attr-defined]
        uses[name] = told[:_DIGITS], ""
    for name, value in found.data.items():
        digest = _digest(digest_value, value) if name in readable else ""
        uses[name] = digest, f"= {value!r}" if digest and type(value) in _NUMBERS else ""
    return uses


def changed_uses(before: Uses, now: Uses) -> list[str]:
    """Give the names of what both use and what is not the same, as far as is known."""
    return sorted(
        name
        for name, (digest, _) in now.items()
        if digest and name in before and before[name][0] not in ("", digest)
    )


def used_text(name: str, before: Uses, now: Uses) -> str:
    """Say what has become of a name that both use: of a number what it was and is."""
    was, is_ = before[name][1], now[name][1]
    numbers = was.startswith("= ") and is_.startswith("= ")
    return f"{name} {was[2:]} -> {is_[2:]}" if numbers else name


def _digest(read: Callable[P, bytes], *args: P.args, **kwargs: P.kwargs) -> str:
    try:
        return hashlib.sha256(read(*args, **kwargs)).hexdigest()[:_DIGITS]
    except NotDigestable:
        return ""
