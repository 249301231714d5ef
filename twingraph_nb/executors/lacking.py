"""What a far side lacks for a component, with the place that needs it and the cure."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator

from twingraph_nb.component import Component
from twingraph_nb.source.packer import lines_of
from twingraph_nb.source.reach import reach
from twingraph_nb.source.text import place_of

__all__ = ["lacking", "note_cure"]

_CURES = {
    "docker": "use an image= that has it, or build=[{name!r}] to have one made",
    "kubernetes": "use an image= that has it",
    "batch": "use an image= that has it",
    "lambda": "take it along with packages=[{name!r}], or use a layer that has it",
    "celery": "install it where the worker runs: pip install {name}",
    "dask": "install it on the cluster's workers: pip install {name}",
}


def lacking(component: Component, error: BaseException, cure: str = "") -> str:
    """Give the sentence about an error that loading the component there ended with, "" if none.

    It names the cell or file, the line and the cure, for a package that is not there and for
    syntax that the Python there does not know.

    Args:
        cure: for a package, if known better than by the platform's name.
    """
    if isinstance(error, ModuleNotFoundError):
        name = _module_of(error)
        cure = cure or _cure(component.platform, name)
        uses = f"{_use_of(component, name)} uses {name!r}"
        return f"{uses}, which is not there ({error}): {cure}" if cure else ""
    if isinstance(error, SyntaxError) and error.lineno:
        source = component.source
        own = error.filename == source.filename and source.cell
        where = source.cell if own else place_of(error.filename or "")
        text = (error.text or "").strip()
        said = f"{where}, line {error.lineno}: the Python there says: {error.msg}"
        said += f"\n    {text}" if text else ""
        return f"{said}\n    use a newer Python there, or rewrite the line"
    return ""


def note_cure(component: Component, error: ModuleNotFoundError) -> None:
    """Say on the error of a task what to do about the module that its platform lacks."""
    cure = _cure(component.platform, _module_of(error))
    if cure and component.platform != "docker":  # which names the image as well
        error.add_note(f"the task ran on platform {component.platform!r}: {cure}")


def _cure(platform: str, module: str) -> str:
    """What to do about it, "" if that is not known."""
    return _CURES.get(platform, "").format(name=module.partition(".")[0])


def _module_of(error: ModuleNotFoundError) -> str:
    found = re.search(r"No module named '([\w.]+)'", str(error))
    return error.name or (found[1] if found else "a module")


def _use_of(component: Component, module: str) -> str:
    """The first place that uses a module, or else where the component begins."""
    package = module.partition(".")[0]
    reached = reach(component.function, component.source.text)
    names = {
        name
        for name, statement in reached.modules.items()
        if re.search(rf"(?:import|from) {re.escape(package)}\b", statement)
    }
    source = component.source
    for function in (component.function, *reached.functions.values()):
        for code in _codes(function):
            lines = sorted(line for name in names for line in lines_of(code, name))
            if lines:
                own = code.co_filename == source.filename and source.cell
                return f"{source.cell if own else place_of(code.co_filename)}, line {lines[0]}"
    return source.where


def _codes(thing: Callable[..., object] | type) -> Iterator[types.CodeType]:
    members = vars(thing).values() if isinstance(thing, type) else (thing,)
    for member in members:
        code = getattr(member, "__code__", None)
        if code is not None:
            yield code
