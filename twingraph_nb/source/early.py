"""What keeps a component from its platform whatever is defined later: told when that is set."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twingraph_nb.errors import PortabilityError
from twingraph_nb.source.bundle import lasting_problems
from twingraph_nb.source.local import is_local
from twingraph_nb.source.packer import has_home
from twingraph_nb.source.pickled import pickled_bundle
from twingraph_nb.source.reach import reach
from twingraph_nb.source.text import Source

__all__ = ["check_lasting"]


def check_lasting(
    function: Callable[..., object],
    source: Source,
    *,
    name: str,
    platform: str,
    options: Mapping[str, object],
) -> None:
    """Refuse a component that cannot travel to its platform, whatever is defined later.

    Names that are not there yet may come: before dispatch everything is checked again.

    Args:
        name: the component's. options: what it says to its platform.
    Raises:
        PortabilityError: something stays behind; names its cell or file, the line and the cure.
    """
    far = platform != "process" or bool(options.get("python") or options.get("deps"))
    if _is_imported_there(function, far):
        return
    if options.get("ship") == "pickle":
        pickled_bundle(function, name=name, style="sync", platform=platform, path=())
        return
    problems = lasting_problems(function, source, far=far)
    if far and any("twingraph_nb.asking" in line for line in reach(function).modules.values()):
        problems.append("`ask` hears no answer there: ask in the pipeline, and pass the answer on")
    if problems:
        raise PortabilityError(name, platform, problems)


def _is_imported_there(function: Callable[..., object], far: bool) -> bool:
    """True for a function of a module that is there too; the module may just be loading."""
    home = function.__module__ or ""
    inner = "<locals>" in function.__qualname__
    return has_home(home) and not inner and not (far and is_local(home))
