"""What is shown where: with a front end, in a batch run, in a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

CELLS = (
    "%load_ext twingraph_nb\nfrom twingraph_nb import component\n"
    "@component()\ndef add(a: int, b: int) -> int:\n    return a + b",
    "total = add(add(1, 2), 3)\ntotal",
    "total.result()",
    "import twingraph_nb.views.show as show\nshow.settle()",
)


def executed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, batch: bool
) -> nbformat.NotebookNode:
    if batch:
        monkeypatch.setenv("TWINGRAPH_BATCH", "1")
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    return notebook


def test_a_batch_run_keeps_a_picture_and_no_widget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = executed(tmp_path, monkeypatch, batch=True).cells[1].outputs
    assert len(outputs) == 1
    assert "data:image/svg+xml;base64," in outputs[0].data["text/html"]
    assert "2/2 done" in outputs[0].data["text/plain"]


def test_with_a_front_end_the_picture_stands_beside_the_widget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, still = executed(tmp_path, monkeypatch, batch=False).cells[1].outputs
    assert "application/vnd.jupyter.widget-view+json" in live.data
    assert "data:image/svg+xml;base64," in still.data["text/html"]


def test_a_terminal_gets_text(tmp_path: Path) -> None:
    code = "\n".join((CELLS[0], CELLS[2].replace("total", "add(1, 2)"), "add(1, 2)", ""))
    command = [
        sys.executable,
        "-m",
        "IPython",
        "--simple-prompt",
        "--no-banner",
        "--colors=NoColor",
    ]
    env = {**os.environ, "IPYTHONDIR": str(tmp_path / "ipython")}
    done = subprocess.run(
        command, input=code.replace("a + b", "a + b\n"), env=env, text=True, capture_output=True,
        timeout=60, check=True,
    )  # fmt: skip
    assert "add" in done.stdout
    assert "1/1 done" in done.stdout or "0/1 done" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
