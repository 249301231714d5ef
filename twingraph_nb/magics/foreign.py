"""What a ``%%component ... --lang rust`` cell makes; its code is never parsed here."""

from __future__ import annotations

import linecache
from collections.abc import Mapping

from IPython.core.interactiveshell import InteractiveShell

from twingraph_nb.component import Component
from twingraph_nb.languages import component_of, source_of_code
from twingraph_nb.source.line import Line

__all__ = ["made_of_code"]


def made_of_code(
    ip: InteractiveShell,
    asked: Line,
    text: str,
    *,
    line: str,
    language: str,
    name: str | None,
    platform: str,
    options: Mapping[str, object],
) -> Component:
    """Make a component of a cell in another language; IPython remembers its lines for tracebacks.

    Args:
        line: the magic line, options too; text: what stands below it.
    Raises:
        DefinitionError: the line or the code cannot become a component.
    """
    number: int = ip.displayhook.prompt_count
    first = f"%%component {line}".rstrip()
    # Of Python's own: a comment keeps IPython from parsing the cell when it shows an error of it.
    filename = _as_no_file(ip, ip.compile.cache(f"# {first}\n{text}", number, f"{first}\n{text}"))
    source = source_of_code(text, f"cell [{number}]", 2, filename)
    names = {**ip.user_global_ns, **ip.user_ns}
    return component_of(
        language, asked, source, names, name=name, platform=platform, options=options
    )


def _as_no_file(ip: InteractiveShell, name: str) -> str:
    """Give a cell a name that no file could have: IPython opens what ends in ``.py``, as names of a
    kernel's cells do, and shows other lines where there is none."""
    if not name.endswith(".py"):
        return name
    shown = f"<{name}>"
    linecache.cache[shown] = linecache.cache[name]
    cells: dict[str, int] = getattr(ip.compile, "_filename_map", {})
    cells[shown] = cells.get(name, 0)
    return shown
