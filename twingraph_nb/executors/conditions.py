"""Whether the platforms can be used right now, and why not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from twingraph_nb.errors import ExecutorError, ExecutorMissing
from twingraph_nb.executors.base import Condition, Executor, Probes
from twingraph_nb.executors.registry import make_executor
from twingraph_nb.settings import Settings

__all__ = ["conditions"]


async def conditions(
    names: Sequence[str], made: Mapping[str, Executor], settings: Settings, timeout: float
) -> list[Condition]:
    """Ask all platforms at once how they are; gives one condition for each name.

    Args:
        made: the executors that there are already. timeout: seconds that a service has to answer.
    """
    return await asyncio.gather(
        *[_condition(name, made.get(name), settings, timeout) for name in names]
    )


async def _condition(
    name: str, executor: Executor | None, settings: Settings, timeout: float
) -> Condition:
    try:
        if executor is None and name != "local":
            executor = await asyncio.to_thread(make_executor, name, settings)
        if isinstance(executor, Probes):
            return Condition("ready", await asyncio.wait_for(executor.probe(), timeout))
        return Condition("ready")
    except ExecutorMissing as exc:
        return Condition("missing", f"pip install 'twingraph-nb[{exc.extra}]'")
    except TimeoutError:
        said = f"no answer within {timeout:g} s: a network swallows what is sent, or all is slow"
        return Condition("unreachable", said)
    except ExecutorError as exc:
        return Condition("unreachable", str(exc))
    except Exception as exc:  # a client library, or another's platform: the others are asked too
        return Condition("unreachable", f"{type(exc).__name__}: {exc}")
