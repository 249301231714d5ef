"""A component that travels as a pickle because its source cannot: only when it asks for that."""

from __future__ import annotations

import sys
from collections.abc import Callable

from twingraph_nb.errors import PortabilityError
from twingraph_nb.rebuild import Payload
from twingraph_nb.source.bundle import Bundle
from twingraph_nb.source.local import is_local

__all__ = ["pickled_bundle"]

HERE = (sys.version_info[0], sys.version_info[1])
"""The Python that bytecode of this kernel is for."""


def pickled_bundle(
    function: Callable[..., object], *, name: str, style: str, platform: str, path: tuple[str, ...]
) -> Bundle:
    """Give a function as cloudpickle takes it: its bytecode and all it has captured.

    The far side needs cloudpickle and the same minor version of Python.
    Raises:
        PortabilityError: cloudpickle is not installed here, or refuses the function.
    """
    try:
        import cloudpickle  # only for components that ask for it
    except ModuleNotFoundError:
        said = "ship='pickle' needs cloudpickle, here and there: pip install cloudpickle"
        raise PortabilityError(name, platform, [said]) from None
    home = sys.modules.get(function.__module__ or "")
    beside = home is not None and is_local(home.__name__)
    try:
        if beside:
            cloudpickle.register_pickle_by_value(home)
        body = cloudpickle.dumps(function, protocol=5)
    except Exception as exc:  # whatever a captured value's own pickling raises
        said = f"what it captures cannot be pickled ({type(exc).__name__}: {exc})"
        raise PortabilityError(name, platform, [said]) from exc
    finally:
        if beside:
            cloudpickle.unregister_pickle_by_value(home)
    return Bundle(Payload(name, style, "", path, pickled=(HERE, body)), None, 0.0)
