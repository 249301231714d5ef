"""What a call of another language costs, against a new process for each call."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from tests.bench.harness import Row, compared
from twingraph_nb import component
from twingraph_nb.component import Component
from twingraph_nb.languages import cache_folder, language_of
from twingraph_nb.languages.javascript import nodes

__all__ = ["bulk", "natives"]

CALLS = 200
STARTS = 10
NO_OPS = {
    "javascript": "const same = (x) => x;",
    "typescript": "function same(x: number): number { return x; }",
    "c++": "long same(long x) { return x; }",
    "rust": "fn same(x: i64) -> i64 { x }",
    "bash": "y=$x",
}


def made(language: str, signature: str, code: str) -> Component:
    return component(language=language, signature=signature, code=code)  # type: ignore[return-value]


def natives() -> Iterator[Row]:
    """One call after the other through the session, the event log on."""
    for language, code in NO_OPS.items():
        same = made(language, "same(x: int) -> y: int", code)
        command = _alone(language)
        ours, process = compared(
            lambda: [same(n).result() for n in range(CALLS)],  # type: ignore[attr-defined]  # noqa: B023
            lambda: [subprocess.run(command, check=True) for _ in range(STARTS)],  # noqa: B023
        )
        process *= CALLS / STARTS
        most = None if language == "bash" else 0.5
        note = "a new process"
        yield Row(f"{language} no-op, warm", ours, process, CALLS, "ms", below=most, note=note)


def bulk() -> Iterator[Row]:
    code = "fn total(xs: Vec<f64>) -> f64 { xs.iter().sum() }"
    total = made("rust", "total(xs: list[float]) -> y: float", code)
    numbers = [float(n) for n in range(1_000_000)]
    ours, python = compared(
        lambda: total(numbers).result(),  # type: ignore[attr-defined]
        lambda: sum(numbers),
    )
    yield Row("1,000,000 floats to rust", ours, python, unit="ms", note="sum() here")


def _alone(language: str) -> tuple[str, ...]:
    """A command that starts a process of the language and does nothing else."""
    if language in ("javascript", "typescript"):
        return (next(path for path, _ in nodes()), "-e", "0")
    if language == "bash":
        return ("bash", "-c", ":")
    nothing = made(language, "same(x: int) -> y: int", NO_OPS[language])
    built = language_of(language).build(nothing, cache=cache_folder())
    # Without input the worker ends as soon as it has started.
    return ("sh", "-c", 'exec "$0" < /dev/null', *built.started_in(built.folder))
