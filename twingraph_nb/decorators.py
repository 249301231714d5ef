"""The decorators: a function becomes a component or a pipeline."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

from twingraph_nb.component import Component, Pipeline, make_component, make_pipeline, shelf
from twingraph_nb.errors import DefinitionError
from twingraph_nb.platform_choice import usual_platform

__all__ = ["async_component", "component", "pipeline"]


def component(
    function: Callable[..., object] | None = None,
    /,
    *,
    name: str | None = None,
    platform: str | None = None,
    config: Mapping[str, object] | None = None,
    language: str = "python",
    signature: str = "",
    code: str = "",
    **options: object,
) -> Callable[[Callable[..., object]], Component]:
    """Make a component of a function: ``@component()``, ``@component(platform="process")``.

    With `language`, make one at once of code in another language: ``component(language="rust",
    signature="double(x: int) -> y: int", code="fn double(x: i64) -> i64 { 2 * x }")``.

    Args:
        name: the function's own name if not given.
        platform: where its tasks run; `process` where it asks for `python=` or `deps=`, else
            `local`, if not given.
        config: options as a dict, in the words of TwinGraph (`cache_ttl`, `retry_policy`, ...).
        language: `javascript`, `typescript`, `bash`, `c++`, `rust`, one that was added, or the
            path of a manifest.
        signature: name, inputs and outputs of `code`, as on a ``%%component`` line.
        code: has a function of that name; for Bash, the ports are variables.
        options: fields of `Policy`, and what the platform takes.
    Raises:
        DefinitionError: not a function, an unknown option, or a platform that is not there.
        PortabilityError: it has captured what cannot travel to its platform, such as an open
            file. Names may still be defined later: they are looked for before dispatch.
    """
    given = {**(config or {}), **options}
    if language != "python":
        foreign = importlib.import_module("twingraph_nb.languages")  # only for who uses them
        return foreign.foreign_component(  # type: ignore[no-any-return]
            language, signature, code, name=name, platform=platform or "local", options=given
        )
    if signature or code:
        raise DefinitionError("`signature` and `code` are for other languages: say `language=` too")

    def make(f: Callable[..., object]) -> Component:
        chosen = platform or usual_platform(given)
        return make_component(f, name=name, platform=chosen, options=given)

    return make(function) if function is not None else make  # type: ignore[return-value]


def async_component(
    function: Callable[..., object] | None = None,
    /,
    *,
    name: str | None = None,
    platform: str | None = None,
    config: Mapping[str, object] | None = None,
    **options: object,
) -> Callable[[Callable[..., object]], Component]:
    """Make a component of an async function or async generator; like `component` otherwise."""
    given = {**(config or {}), **options}

    def make(f: Callable[..., object]) -> Component:
        chosen = platform or usual_platform(given)
        made = make_component(f, name=name, platform=chosen, options=given, keep=False)
        if made.style not in ("async", "async_stream"):
            raise DefinitionError(
                f"{made.name} ({made.source.where}): @async_component wants `async def`; "
                f"write `async def {made.name}` or use @component()"
            )
        return shelf.put(made)

    return make(function) if function is not None else make  # type: ignore[return-value]


def pipeline(
    function: Callable[..., object] | None = None,
    /,
    *,
    name: str | None = None,
    **options: object,
) -> Callable[[Callable[..., object]], Pipeline]:
    """Make a pipeline of a function, sync or async: ``@pipeline()`` or ``@pipeline(name="etl")``.

    Args:
        options: `max_parallel`, `timeout` (seconds), `on_error` ("fail_fast" or "continue").
    Raises:
        DefinitionError: not a function, or an unknown option.
    """

    def make(f: Callable[..., object]) -> Pipeline:
        return make_pipeline(f, name=name, options=options)

    return make(function) if function is not None else make  # type: ignore[return-value]
