"""Platform `process` keeps the promises of all platforms."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys

import pytest

from tests.conformance.suite import Conformance, Place
from tests.pythons.found import oldest


class TestProcess(Conformance):
    test_a_task_out_of_memory_says_so = None  # type: ignore[assignment] # it has no limit of its own
    # It looks for packages where the kernel does.
    test_a_package_that_is_not_there_is_named_with_its_line_and_its_cure = None  # type: ignore[assignment]

    @classmethod
    def make_place(cls, request: pytest.FixtureRequest, patch: pytest.MonkeyPatch) -> Place:
        return Place("process", trusted=True, left=workers)


class TestForeign(Conformance):
    """Workers that have no package of the kernel's, as another interpreter or environment."""

    test_a_task_out_of_memory_says_so = None  # type: ignore[assignment]

    @classmethod
    def make_place(cls, request: pytest.FixtureRequest, patch: pytest.MonkeyPatch) -> Place:
        return Place(
            "process",
            {"python": sys.executable},
            trusted=True,
            cure="deps=['kernel_only']",
            left=workers,
        )


class TestOldest(Conformance):
    """Workers of the oldest Python a far side may have: what could be amiss there."""

    @classmethod
    def make_place(cls, request: pytest.FixtureRequest, patch: pytest.MonkeyPatch) -> Place:
        (python,) = oldest().values()
        return Place("process", {"python": python}, trusted=True, left=workers)


def workers() -> list[str]:
    """The workers of this process that are there."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[1]
            words = (entry / "cmdline").read_text()
            if int(parent) == os.getpid() and "twingraph_nb.remote_process" in words:
                found.append(entry.name)
    return found


OF_THE_OLDEST = {
    "test_values_arrive_equal_in_both_directions",
    "test_large_values_go_both_ways",
    "test_async_components_run",
    "test_an_error_of_the_users_own_class_is_of_that_class",
    "test_log_lines_come_in_order",
    "test_a_stream_gives_its_chunks_in_order",
    "test_cancelling_a_running_task_ends_the_far_side",
    "test_a_far_side_that_is_killed_fails_its_task_alone",
    "test_helpers_captured_values_and_modules_of_the_users_own_travel",
    "test_bytecode_of_another_python_is_refused",
}
assert vars(Conformance).keys() >= OF_THE_OLDEST
for name in vars(Conformance):
    if name.startswith("test_") and name not in OF_THE_OLDEST:
        setattr(TestOldest, name, None)
if not oldest():
    del TestOldest  # tests/pythons/test_far_side.py holds its grammar to that Python anywhere
