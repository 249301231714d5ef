"""What starting costs: imports, the extension, a notebook as a batch job, the live view."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.bench.harness import Row, compared, measured_there, spawned

__all__ = ["imports", "load_ext", "notebooks", "views"]

LOAD = """
import sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
start = time.perf_counter()
shell.run_line_magic("load_ext", "twingraph_nb")
print(time.perf_counter() - start)
"""
VIEW = """
import gc
import time
from IPython.display import display
from tests.bench import graphs
from twingraph_nb.views.show import settle

def once(size, show, graph):
    start = time.perf_counter()
    run = graph(size)
    if show:
        display(run)
    run.result()
    took = time.perf_counter() - start
    settle()  # a picture that is drawn later must not slow down the next run
    gc.collect()
    return took

def both(size, graph):
    once(size, False, graph), once(size, True, graph)
    pairs = [(once(size, True, graph), once(size, False, graph)) for _ in range(15)]
    return [sorted(times)[7] for times in zip(*pairs)]
"""


def imports() -> Iterator[Row]:
    python = sys.executable
    ours, bare = compared(
        lambda: spawned(python, "-c", "import twingraph_nb"),
        lambda: spawned(python, "-c", "pass"),
        runs=11,
    )
    note = f"bare python {bare * 1000:.0f} ms"
    yield Row("import twingraph_nb", ours - bare, unit="ms", below=100, note=note)


def load_ext() -> Iterator[Row]:
    """In IPython, as a notebook's first cell does it."""
    ours = statistics.median(measured_there(LOAD) for _ in range(7))
    yield Row("%load_ext twingraph_nb", ours, unit="ms", below=300)


def notebooks() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "ten.ipynb")
        cells = [nbformat.v4.new_code_cell(f"x{i} = {i}\nx{i}") for i in range(10)]
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        made = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        nbformat.write(made, source)
        command = str(Path(sys.executable).with_name("twingraph"))
        ours, plain = compared(
            lambda: spawned(command, "run", str(source), "-o", str(Path(folder, "ours"))),
            lambda: spawned(
                sys.executable, "-m", "papermill", str(source), str(Path(folder, "plain.ipynb"))
            ),
        )
    yield Row("10-cell notebook as a batch job", ours, plain, unit="ms", at_most=1.15)


def views() -> Iterator[Row]:
    """In a real kernel, with the run shown as a cell shows it and then awaited."""
    cells = {
        "1,000 no-ops, live view on": "both(1000, graphs.fan)",
        "1,000 tasks of 50 ms, live view on": "both(1000, graphs.naps)",
    }
    book = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("%load_ext twingraph_nb\n" + VIEW),
            *(nbformat.v4.new_code_cell(f"print(*{call})") for call in cells.values()),
        ]
    )
    NotebookClient(book, timeout=600, kernel_name="python3").execute()
    for name, cell in zip(cells, book.cells[1:], strict=True):
        said = next(o["text"] for o in reversed(cell.outputs) if o.get("name") == "stdout")
        on, off = map(float, said.split())
        yield Row(name, on, off, 1000, at_most=1.2, note="view off")
