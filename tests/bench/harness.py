"""Interleaved runs, and the table they are shown in."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["RUNS", "Row", "compared", "measured_there", "seconds", "shown", "spawned"]

ROOT = Path(__file__).resolve().parents[2]
RUNS = 5
UNITS = {"us": 1e6, "ms": 1e3, "s": 1.0, "B": 1.0, "% of a core": 1.0}


@dataclass(frozen=True)
class Row:
    """One line of the table: seconds (or bytes) of the median run, and the aim they are held to.

    each: what the numbers are divided by, for example the count of tasks. at_most: the largest
    ratio of ours to the baseline. below: the largest value of ours, in `unit`.
    """

    name: str
    ours: float
    baseline: float | None = None
    each: int = 1
    unit: str = "us"
    at_most: float | None = None
    below: float | None = None
    note: str = ""

    @property
    def value(self) -> float:
        return self.ours / self.each * UNITS[self.unit]

    @property
    def against(self) -> float | None:
        return None if self.baseline is None else self.baseline / self.each * UNITS[self.unit]

    @property
    def ratio(self) -> float | None:
        return self.ours / self.baseline if self.baseline else None

    @property
    def aim(self) -> str:
        wants = [f"<= {self.at_most:g}x"] if self.at_most is not None else []
        wants += [f"<= {self.below:g} {self.unit}"] if self.below is not None else []
        return ", ".join(wants)

    @property
    def met(self) -> bool:
        near = self.at_most is None or (self.ratio is not None and self.ratio <= self.at_most)
        return near and (self.below is None or self.value <= self.below)


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes; what the call before left behind is collected first."""
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compared(
    ours: Callable[[], object], baseline: Callable[[], object], runs: int = RUNS
) -> tuple[float, float]:
    """Give the pair with the median ratio.

    The two take turns, so that a slow moment of the machine hits both: what one pair says is of
    the same moment, the medians of each side alone may not be.
    """
    ours(), baseline()
    pairs = [(seconds(ours), seconds(baseline)) for _ in range(runs)]
    return sorted(pairs, key=lambda pair: pair[0] / pair[1])[runs // 2]


def spawned(*command: str) -> str:
    """What a process printed; it must end well."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def measured_there(script: str) -> float:
    """The number that a Python script prints last."""
    return float(spawned(sys.executable, "-c", script).split()[-1])


def shown(rows: Iterable[Row]) -> str:
    """Give the table as text."""
    head = ("workload", "ours", "baseline", "ratio", "aim", "ok")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in (0, 4) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name + (f" ({row.note})" if row.note else ""),
        f"{row.value:.1f} {row.unit}",
        "" if row.against is None else f"{row.against:.1f} {row.unit}",
        "" if row.ratio is None else f"{row.ratio:.2f}x",
        row.aim,
        "" if not row.aim else "yes" if row.met else "NO",
    )
