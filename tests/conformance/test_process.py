"""Platform `process` keeps the promises of all platforms."""

from __future__ import annotations

import sys

import pytest

from tests.conformance.suite import Conformance, Place


class TestProcess(Conformance):
    test_a_task_out_of_memory_says_so = None  # type: ignore[assignment] # it has no limit of its own
    # It looks for packages where the kernel does.
    test_a_package_that_is_not_there_is_named_with_its_line_and_its_cure = None  # type: ignore[assignment]

    @classmethod
    def make_place(cls, request: pytest.FixtureRequest, patch: pytest.MonkeyPatch) -> Place:
        return Place("process", trusted=True)


class TestForeign(Conformance):
    """Workers that have no package of the kernel's, as another interpreter or environment."""

    test_a_task_out_of_memory_says_so = None  # type: ignore[assignment]

    @classmethod
    def make_place(cls, request: pytest.FixtureRequest, patch: pytest.MonkeyPatch) -> Place:
        return Place("process", {"python": sys.executable}, trusted=True, cure="deps=['kernel_only']")
