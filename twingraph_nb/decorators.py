"""The decorators: a function becomes a component or a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twingraph_nb.component import Component, Pipeline, make_component, make_pipeline, shelf
from twingraph_nb.errors import DefinitionError

__all__ = ["async_component", "component", "pipeline"]


def component(
    function: Callable[..., object] | None = None,
    /,
    *,
    name: str | None = None,
    platform: str = "local",
    config: Mapping[str, object] | None = None,
    **options: object,
) -> Callable[[Callable[..., object]], Component]:
    """Make a component of a function: ``@component()``, ``@component(platform="process")``.

    Args:
        name: the function's own name if not given.
        platform: where its tasks run.
        config: options as a dict, in the words of TwinGraph (`cache_ttl`, `retry_policy`, ...).
        options: fields of `Policy`, and what the platform takes.
    Raises:
        DefinitionError: not a function, an unknown option, or a platform that is not there.
    """

    def make(f: Callable[..., object]) -> Component:
        return make_component(
            f, name=name, platform=platform, options={**(config or {}), **options}
        )

    return make(function) if function is not None else make  # type: ignore[return-value]


def async_component(
    function: Callable[..., object] | None = None,
    /,
    *,
    name: str | None = None,
    platform: str = "local",
    config: Mapping[str, object] | None = None,
    **options: object,
) -> Callable[[Callable[..., object]], Component]:
    """Make a component of an async function or async generator; like `component` otherwise."""

    def make(f: Callable[..., object]) -> Component:
        made = make_component(
            f, name=name, platform=platform, options={**(config or {}), **options}, keep=False
        )
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
