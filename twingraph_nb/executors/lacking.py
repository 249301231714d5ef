"""What a far side lacks for a component, with the place that needs it and the cure."""

from __future__ import annotations

import re

from twingraph_nb.component import Component
from twingraph_nb.source.place import use_of
from twingraph_nb.source.reach import reach
from twingraph_nb.source.text import place_of

__all__ = ["absent", "lacking", "note_cure", "unfit"]

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


def unfit(component: Component, error: BaseException, cure: str = "") -> str:
    """Give the sentence about inputs that could not be read there, with the cure if it is known.

    Args:
        cure: for a package that is not there, if known better than by the platform's name.
    """
    missing = absent(error)
    cure = cure or (_cure(component.platform, _module_of(missing)) if missing else "")
    where = component.source.where
    said = f"{where}: its inputs cannot be read there ({type(error).__name__}: {error})"
    return f"{said}: {cure}" if cure else said


def absent(error: BaseException | None) -> ModuleNotFoundError | None:
    """Give what says that a module is not there: the error, or what has caused it."""
    while error is not None and not isinstance(error, ModuleNotFoundError):
        error = error.__cause__
    return error


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
    things = (component.function, *reached.functions.values())
    places = (use_of(things, name, component.source) for name in sorted(names))
    return next(filter(None, places), component.source.where)
