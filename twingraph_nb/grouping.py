"""``group`` and ``attempt``: blocks of calls that succeed or fail together."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol, cast

from twingraph_nb.amounts import seconds_of
from twingraph_nb.component import shelf
from twingraph_nb.context import Silent, current_report
from twingraph_nb.errors import DefinitionError, RunError
from twingraph_nb.graph.scope import Body, Link, current_scope
from twingraph_nb.graph.task import Task
from twingraph_nb.scheduler.blocks import GRACE, Block
from twingraph_nb.settled import Settled
from twingraph_nb.verdict import at_least, critical, read_group_policy

__all__ = ["Settled", "at_least", "attempt", "critical", "group"]


class _Closes(Protocol):
    """The run of a block."""

    def close_block(self, task: Task, block: Block, error: BaseException | None) -> None: ...


@contextmanager
def group(
    name: str = "group",
    *,
    policy: object = "strict",
    catch: Callable[[BaseException], object] | None = None,
    finally_: Callable[[], object] | None = None,
    grace: float | str = GRACE,
) -> Generator[Task, None, None]:
    """Give the task of a group whose members are the calls made in the block.

    The block does not wait: when it is left, the group goes on until its policy has decided.
    Members that are not needed any more are cancelled then. An error of a member, a cancel or an
    approval that nobody gives is the group's, and the group's failure is the run's as that of
    any task.

    Args:
        policy: "strict": all must succeed. "best_effort": the group never fails. `at_least(n)`,
            `critical("train", ...)`: the rest may fail. Or a function that gets a list of
            `Settled`, of those that have ended, and gives True, False, or None for not yet.
        catch, finally_, grace: as for `attempt`.
    Returns:
        A task whose value is a list of `Settled`, one for each call, in their order.
    Raises:
        DefinitionError: the policy is none.
    """
    block = _block(policy, catch, finally_, grace)
    with _entered(name, block) as task:
        yield task


@contextmanager
def attempt(
    name: str = "attempt",
    *,
    catch: Callable[[BaseException], object] | None = None,
    finally_: Callable[[], object] | None = None,
    grace: float | str = GRACE,
) -> Generator[Task, None, None]:
    """Give the task of a block that is tried: try, except and finally for calls in a graph.

    All its calls must succeed. The block does not wait for them; both functions are called like
    pipelines, inside of the attempt, so they may call components. A plan calls `finally_` too, as
    it calls pipelines: what changes something belongs into a component.

    Args:
        catch: called with the error of the first call that failed, or of the block's own code,
            which goes on behind the block then; what it returns is the value.
        finally_: called at the end, also if `catch` fails or the run is cancelled, after all
            calls have ended. Its error fails the attempt.
        grace: seconds that `finally_` has once the run is stopping; before it, as long as its
            calls may take to end.
    Returns:
        A task whose value is that of the last call made in the block.
    """
    block = _block("strict", catch, finally_, grace, values=False)
    with _entered(name, block) as task:
        yield task


def _block(
    policy: object,
    catch: Callable[[BaseException], object] | None,
    finally_: Callable[[], object] | None,
    grace: float | str,
    *,
    values: bool = True,
) -> Block:
    for word, function in (("catch", catch), ("finally_", finally_)):
        if function is not None and not callable(function):
            raise DefinitionError(f"{word} wants a function or component, not {function!r}")
    try:
        seconds = seconds_of(grace)
    except ValueError as exc:
        raise DefinitionError(f"grace {exc}, not {grace!r}") from None
    return Block(
        read_group_policy(policy), values=values, catch=catch, finally_=finally_, grace=seconds
    )


@contextmanager
def _entered(name: str, block: Block) -> Generator[Task, None, None]:
    found = current_report.get()
    if found is not None and not isinstance(found, Silent) and not hasattr(found, "link"):
        raise RunError("groups work in pipelines and in components on platform 'local'")
    outer = current_scope()
    task = cast(Task, shelf.caller.block(name, block))
    above = (*(() if outer is None else outer.above), task.number)
    lazy = outer is not None and outer.lazy
    scope: _InBody | _InTask
    if found is None or isinstance(found, Silent):
        scope = _InBody(task.link, task.number, above, lazy)
    else:
        scope = _InTask(found, task.link, task.number, above)
    token = current_report.set(scope)  # type: ignore[arg-type]
    error: BaseException | None = None
    try:
        yield task
    except BaseException as exc:
        error = exc
        if block.catch is None or not isinstance(exc, Exception):
            raise
    finally:
        current_report.reset(token)
        if error is not None and block.catch is None:
            task.waiters += 1  # the error goes on here: it is not lost, so not the run's as well
        cast(_Closes, task.link).close_block(task, block, error)


class _InBody(Body):
    """The scope of a block in a pipeline or a cell."""

    __slots__ = ("lazy",)

    def __init__(self, link: Link, group: int, above: tuple[int, ...], lazy: bool) -> None:
        super().__init__(link, group, above)
        self.lazy = lazy


class _InTask:
    """The scope of a block in a component: what is said there is said by the component's task."""

    lazy = False

    def __init__(self, outer: object, link: Link, group: int, above: tuple[int, ...]) -> None:
        self._outer, self.link, self.group, self.above = outer, link, group, above

    def __getattr__(self, name: str) -> object:
        return getattr(self._outer, name)
