"""What is public is listed, exists, and says what it gives."""

from __future__ import annotations

import builtins
import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType

from tests.house.package import Module, modules
from twingraph_nb import errors

PUBLIC = [module for module in modules() if module.public]
SECTION = re.compile(r"^(Args|Returns|Yields|Raises|Source):", re.M)
ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*)( \([^)]*\))?:")
TYPED_RESULT = re.compile(r"^(int|str|bool|float|bytes|None|list|dict|tuple|set)\b[^ ]*: ")


def loaded(module: Module) -> ModuleType:
    return importlib.import_module(module.name)


def public_things(module: Module) -> Iterator[tuple[str, object]]:
    """Functions and classes of `__all__` that are defined in this very module."""
    there = loaded(module)
    for name in getattr(there, "__all__", ()):
        thing = getattr(there, name)
        ours = getattr(thing, "__module__", None) == module.name
        if ours and (inspect.isfunction(thing) or inspect.isclass(thing)):
            yield name, thing


def documented(module: Module) -> Iterator[tuple[str, object, str]]:
    """Each function and method that has a docstring of its own, with that docstring."""
    for name, thing in public_things(module):
        if inspect.isfunction(thing):
            yield name, thing, inspect.getdoc(thing) or ""
            continue
        for key, member in vars(thing).items():
            function = member.fget if isinstance(member, property) else member
            function = getattr(function, "__func__", function)
            if inspect.isfunction(function) and function.__doc__:
                yield f"{name}.{key}", function, inspect.cleandoc(function.__doc__)


def sections(doc: str) -> dict[str, str]:
    """The text below each section heading, dedented by one level."""
    parts = SECTION.split(doc)
    return {
        heading: inspect.cleandoc(text)
        for heading, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def entries(text: str) -> Iterator[tuple[list[str], str]]:
    """The names before the colon of each entry of a section, and what stands in brackets."""
    for line in text.splitlines():
        found = ENTRY.match(line)
        if found:
            yield found[1].split(", "), found[2] or ""


def test_every_public_module_lists_names_that_exist() -> None:
    wrong = []
    for module in PUBLIC:
        there = loaded(module)
        names = getattr(there, "__all__", None)
        if names is None:
            wrong.append(f"{module.path}: no __all__")
            continue
        wrong += [f"{module.path}: {name}" for name in names if not hasattr(there, name)]
        wrong += [f"{module.path}: {name} twice" for name in set(names) if names.count(name) > 1]
    assert wrong == []


def test_every_public_module_says_what_it_is() -> None:
    assert [str(module.path) for module in PUBLIC if not inspect.getdoc(loaded(module))] == []


def test_every_public_function_and_class_has_a_docstring() -> None:
    bare = [
        f"{module.path}: {name}"
        for module in PUBLIC
        for name, thing in public_things(module)
        if not thing.__doc__
    ]
    assert bare == []


def test_docstrings_name_only_arguments_that_exist() -> None:
    wrong = []
    for module in PUBLIC:
        for name, function, doc in documented(module):
            signature = set(inspect.signature(function).parameters)
            for names, _ in entries(sections(doc).get("Args", "")):
                strangers = {each.lstrip("*") for each in names} - signature
                wrong += [f"{module.path}: {name}: {each}" for each in sorted(strangers)]
    assert wrong == []


def test_docstrings_do_not_repeat_types() -> None:
    wrong = []
    for module in PUBLIC:
        for name, _, doc in documented(module):
            found = sections(doc)
            said = [brackets for _, brackets in entries(found.get("Args", "")) if brackets]
            said += TYPED_RESULT.findall(found.get("Returns", ""))
            wrong += [f"{module.path}: {name}: {each}" for each in said]
    assert wrong == []


def test_docstrings_name_only_errors_that_exist() -> None:
    wrong = []
    for module in PUBLIC:
        for name, function, doc in documented(module):
            known = {**vars(builtins), **vars(errors), **function.__globals__}
            for names, _ in entries(sections(doc).get("Raises", "")):
                strangers = [each for each in names if each.split(".")[0] not in known]
                wrong += [f"{module.path}: {name}: {each}" for each in strangers]
    assert wrong == []
