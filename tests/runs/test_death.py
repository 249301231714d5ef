"""A dead process is told by its exit code or signal, and by the memory it had used."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from twingraph_nb.runs.death import MemoryWatch, cause_of_death, size_text

MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    ("code", "peak", "said"),
    [
        (3, 0, "ended with exit code 3"),
        (0, 0, "ended with exit code 0"),
        (1, 1_500_000_000, "ended with exit code 1 after using up to 1.5 GB of memory"),
        (-signal.SIGTERM, 0, "was killed by SIGTERM"),
        (-250, 0, "was killed by signal 250"),
        (None, 0, "stopped answering"),
    ],
)
def test_the_cause_is_said_in_words(code: int | None, peak: int, said: str) -> None:
    assert cause_of_death(code, peak) == said


def test_sigkill_and_segfault_are_explained() -> None:
    assert "out-of-memory killer" in cause_of_death(-signal.SIGKILL)
    assert "compiled code" in cause_of_death(-signal.SIGSEGV)


def test_sizes_are_written_as_people_write_them() -> None:
    assert [size_text(n) for n in (12, 3_400, 56_000_000, 7.8e9)] == [
        "12 bytes",
        "3 kB",
        "56 MB",
        "7.8 GB",
    ]


def test_the_peak_is_known_after_the_process_has_died() -> None:
    used = 300 * MEGABYTE
    script = f"x = bytearray({used}); print('full', flush=True); input(); del x; input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        watch = MemoryWatch(process.pid)
        assert process.stdout is not None
        process.stdout.readline()
        while watch.peak < used:  # it looks a few times a second
            time.sleep(0.01)
        process.kill()
        process.wait()
    watch.stop()
    assert used <= watch.peak < used + 200 * MEGABYTE
