"""A notebook whose kernel was killed is run again from where it stopped."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

CELLS = (
    "%load_ext twingraph_nb",
    "n = 3",
    """%%component slow(x) -> y
import os, signal
with open(os.environ['TRACE'], 'a') as file:
    file.write(f'{x}\\n')
if x == 2 and os.environ.get('DIE'):
    while True:  # until what was done before is on disk
        from twingraph_nb.session import get_session
        done = [e for run in get_session().runs for b in get_session().history(run)
                for e in b.events if type(e).__name__ == 'TaskDone']
        if len(done) >= 2:
            os.kill(os.getpid(), signal.SIGKILL)
y = x * 10""",
    """%%pipeline go(n) -> out
out = [slow(i) for i in range(n)]""",
    "print('result', go(n).result(), slow(99).result())",
)

SHELL = """
import nbformat
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
for cell in nbformat.read('steps.ipynb', 4).cells[:-1]:
    shell.run_cell(cell.source).raise_error()
shell.run_cell("run = %twingraph resume last\\nprint('result', run.result())").raise_error()
"""


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    cells = [nbformat.v4.new_code_cell(text) for text in CELLS]
    cells[1].metadata["tags"] = ["parameters"]
    path = tmp_path / "steps.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def twingraph(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    environ = {
        **os.environ,
        "TRACE": str(folder / "trace"),
        "TWINGRAPH_KEEP_AFTER": "0",
        "TWINGRAPH_THREADS": "2",
        **more,
    }
    command = ["-c", SHELL] if words == ("shell",) else ["-m", "twingraph_nb.runs.cli", *words]
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_killed_notebook_goes_on_with_its_parameters(notebook: Path, tmp_path: Path) -> None:
    first = twingraph(tmp_path, "run", "steps.ipynb", "-p", "n", "5", "-o", "one", DIE="1")
    assert first.returncode == 1
    assert re.search(r"[2-4] of 5 tasks done", first.stderr)
    again = twingraph(tmp_path, "run", "steps.ipynb", "--resume", "last", "-o", "two")
    assert again.returncode == 0, again.stderr
    executed = (tmp_path / "two" / "steps.ipynb").read_text()
    assert "result [0, 10, 20, 30, 40] 990" in executed
    ran = (tmp_path / "trace").read_text().split()
    assert [ran.count(x) for x in ("0", "1", "2", "99")] == [1, 1, 2, 1]
    assert re.search(r"6 of 6 tasks done, [2-4] reused", again.stderr)
    listed = twingraph(tmp_path, "show", "last").stdout
    assert "resumes" in listed

    third = twingraph(tmp_path, "resume", "last", "-o", "three")  # by the run alone
    assert third.returncode == 0, third.stderr
    assert (tmp_path / "trace").read_text().split() == ran
    assert "6 reused" in third.stderr

    fourth = twingraph(tmp_path, "shell")  # by a kernel, which knows the pipeline but no notebook
    assert "result [0, 10, 20, 30, 40]" in fourth.stdout, fourth.stderr
    assert (tmp_path / "trace").read_text().split() == ran


def test_a_notebook_runs_and_resumes_in_part(notebook: Path, tmp_path: Path) -> None:
    said = twingraph(tmp_path, "run", "steps.ipynb", "--only", "slwo", "-o", "none")
    assert said.returncode == 2
    assert "--only: the notebook has no 'slwo' (did you mean 'slow'?)" in said.stderr
    first = twingraph(tmp_path, "run", "steps.ipynb", "--skip", "nobody,go", "-o", "none")
    assert (first.returncode, "the notebook has no 'nobody'" in first.stderr) == (2, True)
    both = twingraph(tmp_path, "run", "steps.ipynb", "--only", "slow", "--skip", "s*", "-o", "none")
    assert both.returncode == 2
    assert "--only: 'slow' fits slow, and --skip=s* leaves it out" in both.stderr
    assert not (tmp_path / "trace").exists()
    first = twingraph(tmp_path, "run", "steps.ipynb", "-o", "one")
    assert first.returncode == 0, first.stderr
    again = twingraph(tmp_path, "resume", "last", "--force", "slow", "-o", "two")
    assert again.returncode == 0, again.stderr
    assert sorted((tmp_path / "trace").read_text().split()) == sorted(["0", "1", "2", "99"] * 2)
    last = twingraph(tmp_path, "run", "steps.ipynb", "--to", "print", "-o", "three")
    assert last.returncode == 1
    assert "--to: no task was called 'print'" in last.stderr


def test_what_cannot_be_resumed_is_said_before_a_kernel_starts(
    notebook: Path, tmp_path: Path
) -> None:
    said = twingraph(tmp_path, "run", "steps.ipynb", "--resume", "last", "-o", "one")
    assert said.returncode == 2
    assert "no earlier run of" in said.stderr
    said = twingraph(tmp_path, "run", "steps.ipynb", "--resume", "abc", "-o", "one")
    assert said.returncode == 2
    assert "no run is called 'abc'" in said.stderr
    assert not (tmp_path / "trace").exists()
