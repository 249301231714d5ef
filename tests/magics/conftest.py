"""One real IPython shell for the tests of this folder, with the extension loaded afresh."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
from IPython.utils.capture import capture_output

from twingraph_nb.component import shelf


class Notebook:
    """Runs cells as a front end would. `shown` is what the last cell displayed, as text."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell, self.shown = shell, ""

    def run(self, cell: str) -> ExecutionResult:
        with capture_output() as caught:
            done = self.shell.run_cell(cell, store_history=True)
        displayed = [out.data.get("text/plain", "") for out in caught.outputs]
        self.shown = "\n".join([caught.stdout, *displayed])
        return done

    def good(self, cell: str) -> object:
        """Run a cell that has to succeed; give its value."""
        return self.run(cell).raise_error() or self.shell.last_execution_result.result

    def bad(self, cell: str) -> BaseException:
        """Run a cell that has to fail; give its error."""
        found = self.run(cell).error_in_exec
        assert found is not None, self.shown
        return found

    def __getitem__(self, name: str) -> object:
        return self.shell.user_ns[name]


@pytest.fixture(scope="session")
def _shell(tmp_path_factory: pytest.TempPathFactory) -> InteractiveShell:
    os.environ["IPYTHONDIR"] = str(tmp_path_factory.mktemp("ipython"))
    shell = InteractiveShell.instance()
    shell.colors = "nocolor"
    shell.history_manager.enabled = False
    return shell


@pytest.fixture
def notebook(_shell: InteractiveShell, home: Path) -> Iterator[Notebook]:
    shelf.components.clear()
    shelf.pipelines.clear()
    _shell.reset()
    _shell.run_line_magic("load_ext", "twingraph_nb")
    yield Notebook(_shell)
    _shell.run_line_magic("unload_ext", "twingraph_nb")
