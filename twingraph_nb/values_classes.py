"""Objects of classes: enums, dataclasses, named tuples, pydantic models, exceptions.

Standard library only, Python 3.9 or later: part of what travels to the far side.

A class travels as "module:qualname". Reading looks it up in the modules that are loaded, sees
that it is of a kind known here, and fills a bare object of it: no `__init__`, `__new__`,
`__setattr__`, property or validator of a user runs.
"""

from __future__ import annotations

import builtins
import enum
import importlib
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twingraph_nb.outputs import Outputs, outputs
from twingraph_nb.values_kinds import (
    NotPlain,
    NotTrusted,
    Reading,
    ValuesError,
    Writing,
    list_of,
    text_of,
)

__all__ = [
    "DECODERS",
    "class_named",
    "class_ref",
    "exception_made",
    "exception_reduced",
    "exception_state",
    "written",
]

_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)


def written(out: Writing, value: Any) -> list[Any] | None:
    """Give the node of an object of a class of a known kind, or None."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        return _write_enum(out, value)
    if isinstance(value, BaseException):
        return _write_exception(out, value)
    if isinstance(value, Outputs):
        items = [out.walk(item) for item in value]  # type: ignore[attr-defined]
        return ["outputs", kind.__name__, list(value._fields), *items]
    if _is_named_tuple(kind):
        return ["named", class_ref(kind), *[out.walk(item) for item in value]]
    if _is_model(kind):
        state = value.__getstate__()
        parts = [state["__dict__"], state["__pydantic_extra__"], state["__pydantic_private__"]]
        given = sorted(state["__pydantic_fields_set__"])
        return ["model", class_ref(kind), given, *[out.walk(part) for part in parts]]
    if hasattr(kind, "__dataclass_fields__"):
        return _write_dataclass(out, value)
    if isinstance(value, types.ModuleType):
        if sys.modules.get(value.__name__) is not value:
            raise NotPlain("", "it is not the module that is loaded under its name")
        return ["module", value.__name__]
    if isinstance(value, (type, *_FUNCTIONS)) and getattr(value, "__module__", None):
        return ["named thing", class_ref(value)]
    return None


_STOCK = tuple(vars(each).get("_missing_", enum.Flag.__dict__["_missing_"]).__func__
               for each in (enum.Flag, enum.IntFlag))  # fmt: skip
"""What makes a flag of several members; one of a user is not run."""


# -- names --------------------------------------------------------------------------------------


def class_ref(thing: Any) -> str:
    """Give "module:qualname" of a class or function.

    Raises:
        NotPlain: it is not found under its name.
    """
    module, path = thing.__module__, thing.__qualname__
    if _looked_up(module, path) is not thing:
        raise NotPlain(
            "", f"{module}.{path} is not found under its name: define it at the top of a module "
            "or cell, and make the object anew if it was defined again since"
        )  # fmt: skip
    return f"{module}:{path}"


def class_named(ref: object, trust: bool) -> Any:
    """Give the class that "module:qualname" names.

    Args:
        trust: its module may be imported.
    Raises:
        ValuesError: there is no such class here.
    """
    module, _, path = text_of(ref).partition(":")
    if trust and module not in sys.modules:
        try:
            importlib.import_module(module)
        except ImportError as exc:
            raise ValuesError(f"{module}.{path} cannot be imported here: {exc}") from exc
    found = _looked_up(module, path)
    if found is None:
        raise ValuesError(
            f"the class {module}.{path} is not known here: define or import it in the notebook "
            "before the task ends, or give back plain data"
        )
    return found


def _looked_up(module: str, path: str) -> Any:
    """What a loaded module holds under a name, found without running code of it."""
    found: Any = sys.modules.get(module)
    for name in path.split("."):
        try:
            found = vars(found).get(name)
        except TypeError:
            return None
    return found


def _a_class(into: Reading, ref: object, fits: Callable[[type], bool], kind: str) -> Any:
    found = class_named(ref, into.trust)
    if not isinstance(found, type) or not fits(found):
        raise ValuesError(f"{ref!s:.200} is no {kind} here: both sides must have the same class")
    return found


def _named_thing(into: Reading, ref: Any) -> Any:
    if not into.trust:
        raise NotTrusted(
            f"the value holds {text_of(ref):.200} itself, a function or class: trust=True allows "
            "it; without, give back its name"
        )
    return class_named(ref, True)


def _module(into: Reading, name: Any) -> Any:
    if not into.trust:
        raise NotTrusted(f"the value holds the module {text_of(name):.200}: trust=True allows it")
    return importlib.import_module(text_of(name))


# -- enums and tuples ---------------------------------------------------------------------------


def _write_enum(out: Writing, value: Any) -> list[Any]:
    kind, name = type(value), value._name_
    if name is not None and kind._member_map_.get(name) is value:
        return ["enum", class_ref(kind), name]
    return ["flag", class_ref(kind), out.walk(value._value_)]  # several members at once


def _is_enum(kind: type) -> bool:
    return issubclass(kind, enum.Enum)


def _is_flag(kind: type) -> bool:
    missing = getattr(getattr(kind, "_missing_", None), "__func__", None)
    return issubclass(kind, enum.Flag) and missing in _STOCK


def _enum(into: Reading, ref: Any, name: Any) -> Any:
    kind = _a_class(into, ref, _is_enum, "Enum")
    found = kind._member_map_.get(text_of(name))
    if found is None:
        raise ValuesError(f"{ref} has no member {name!r} here: both sides must have the same Enum")
    return found


def _flag(into: Reading, ref: Any, value: Any) -> Any:
    if type(value) is not int:
        raise ValuesError("malformed: a Flag has an integer")
    return _a_class(into, ref, _is_flag, "Flag")(value)


def _is_named_tuple(kind: type) -> bool:
    fields = getattr(kind, "_fields", None)
    return issubclass(kind, tuple) and isinstance(fields, tuple)


def _named(into: Reading, ref: Any, *items: Any) -> Any:
    kind = _a_class(into, ref, _is_named_tuple, "named tuple")
    if len(items) != len(kind._fields):
        raise ValuesError(f"{ref} has {len(kind._fields)} fields here, {len(items)} came")
    return tuple.__new__(kind, items)


def _outputs(into: Reading, name: Any, fields: Any, *items: Any) -> Any:
    names = list(map(text_of, list_of(fields)))
    if len(set(names)) != len(items) or len(names) != len(items):
        raise ValuesError(f"malformed: {len(names)} outputs, {len(items)} came")
    return outputs(text_of(name), **dict(zip(names, items)))  # noqa: B905 - not in Python 3.9


# -- dataclasses and models ---------------------------------------------------------------------


def _write_dataclass(out: Writing, value: Any) -> list[Any]:
    kind = type(value)
    try:
        object.__new__(kind)
    except TypeError:  # also derived from a class with an inside of its own
        raise NotPlain("") from None
    state = _own(value)
    for name in _slots(kind):
        if hasattr(value, name):
            state[name] = getattr(value, name)
    return ["dataclass", class_ref(kind), out.walk(state)]


def _own(value: object) -> dict[str, Any]:
    """Its attributes, without the notes that Python and typing make there."""
    found = getattr(value, "__dict__", {})
    return {name: item for name, item in found.items() if not name.startswith("__")}


def _slots(kind: type) -> list[str]:
    return [
        name
        for each in kind.__mro__
        for name, member in vars(each).items()
        if isinstance(member, types.MemberDescriptorType) and name != "__weakref__"
    ]


def _is_dataclass(kind: type) -> bool:
    return hasattr(kind, "__dataclass_fields__") and not issubclass(kind, BaseException)


def _dataclass(into: Reading, ref: Any, state: Any) -> Any:
    kind = _a_class(into, ref, _is_dataclass, "dataclass")
    fields = kind.__dataclass_fields__
    lacking = [
        name
        for name, field in fields.items()
        if field.init and field._field_type.name == "_FIELD" and name not in state
    ]
    if lacking and not all(name in vars(kind) for name in lacking):
        raise ValuesError(f"{ref} lacks {', '.join(lacking)}: both sides must have the same class")
    made = object.__new__(kind)
    _fill(made, state)
    return made


def _fill(made: Any, state: Any) -> None:
    """Set attributes without running code of the class."""
    kind = type(made)
    slots = set(_slots(kind))
    for name, item in _attributes(state).items():
        if name in slots:
            next(vars(c)[name] for c in kind.__mro__ if name in vars(c)).__set__(made, item)
        else:
            object.__getattribute__(made, "__dict__")[name] = item


def _attributes(state: Any) -> dict[str, Any]:
    if type(state) is not dict or not all(
        type(name) is str and not name.startswith("__") for name in state
    ):
        raise ValuesError("malformed: attributes have plain names")
    return state


def _is_model(kind: type) -> bool:
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(kind, pydantic.BaseModel)


def _model(into: Reading, ref: Any, given: Any, state: Any, extra: Any, private: Any) -> Any:
    kind = _a_class(into, ref, _is_model, "pydantic model")
    for part in (state, *(each for each in (extra, private) if each is not None)):
        _attributes(part)
    made = object.__new__(kind)
    sys.modules["pydantic"].BaseModel.__setstate__(made, {
        "__dict__": state,
        "__pydantic_fields_set__": set(map(text_of, list_of(given))),
        "__pydantic_extra__": extra,
        "__pydantic_private__": private,
    })  # fmt: skip
    return made


# -- exceptions ---------------------------------------------------------------------------------

_MEMBERS = ("filename", "filename2", "name", "name_from", "path")
"""What C code of built-in exceptions keeps beside the arguments, where it has it."""
_BESIDE = ("__notes__", "__cause__", "__context__", "__suppress_context__")
"""What an exception has from those who raise it."""


def exception_state(error: BaseException) -> dict[str, Any]:
    """Give the attributes of an exception, without what Python itself keeps with it."""
    state = _own(error)
    for name in _MEMBERS:
        if _member(type(error), name) is not None and getattr(error, name) is not None:
            state[name] = getattr(error, name)
    return state


def exception_made(kind: type, args: Sequence[Any], state: Mapping[str, Any]) -> BaseException:
    """Give an exception of a class, made by the code of the built-in class below it.

    Raises:
        ValuesError: these are not arguments of such a class.
    """
    base = next(c for c in kind.__mro__ if getattr(builtins, c.__name__, None) is c)
    try:
        made: BaseException = base.__new__(kind, *args)
    except TypeError as exc:
        raise ValuesError(f"{kind.__qualname__} cannot be made: {exc}") from exc
    try:
        base.__init__(made, *args)
    except TypeError:  # it wants what only the user's own __init__ gave: the arguments are there
        pass
    for name, item in _attributes(dict(state)).items():
        member = _member(kind, name)
        if member is not None:
            member.__set__(made, item)
        else:
            BaseException.__getattribute__(made, "__dict__")[name] = item
    return made


def exception_reduced(error: BaseException, *, linked: bool = True) -> Any:
    """Give how to pickle an exception as it is: pickle alone drops its cause and its context.

    One whose own `__init__` wants other arguments than it hands on arrives as well. One that says
    itself how it is pickled is taken at its word.

    Args:
        linked: with notes, cause and context.
    """
    found, kind = error.__reduce_ex__(5), type(error)
    if isinstance(found, str) or len(found) > 3 or not _is_stock(kind, "__setstate__"):
        return found
    made, args, *rest = found
    state = (rest[0] if rest else None) or {}
    if _is_stock(kind, "__reduce__") and _is_stock(kind, "__reduce_ex__"):
        made, args, state = _bare, (kind, args), {**exception_state(error), **state}
    beside = _BESIDE if linked else ()
    links = {name: getattr(error, name) for name in beside if hasattr(error, name)}
    return made, args, {**state, **links}


def _is_stock(kind: type, method: str) -> bool:
    """True if no class of a user or a library has its own method of that name."""
    return next(c for c in kind.__mro__ if method in vars(c)).__module__ == "builtins"


def _bare(kind: type, args: Sequence[Any]) -> BaseException:
    return exception_made(kind, args, {})


def _member(kind: type, name: str) -> Any:
    for each in kind.__mro__:
        found = vars(each).get(name)
        if found is not None:
            return found if isinstance(found, types.MemberDescriptorType) else None
    return None


def _write_exception(out: Writing, error: BaseException) -> list[Any]:
    walk = out.walk
    return [
        "exception",
        class_ref(type(error)),
        [walk(each) for each in error.args],
        walk(exception_state(error)),
        [str(note) for note in getattr(error, "__notes__", ())],
        walk(error.__cause__),
        walk(error.__context__),
        error.__suppress_context__,
    ]


def _exception(into: Reading, ref: Any, args: Any, state: Any, notes: Any, *links: Any) -> Any:
    kind = _a_class(into, ref, lambda c: issubclass(c, BaseException), "exception")
    made = exception_made(kind, list_of(args), state)
    if list_of(notes):
        made.__dict__["__notes__"] = list(map(text_of, notes))
    cause, context, suppress = links
    made.__cause__, made.__context__ = cause, context
    made.__suppress_context__ = suppress
    return made


DECODERS: dict[str, Callable[..., Any]] = {
    "enum": _enum,
    "flag": _flag,
    "named": _named,
    "outputs": _outputs,
    "dataclass": _dataclass,
    "model": _model,
    "exception": _exception,
    "named thing": _named_thing,
    "module": _module,
}
