"""What the README shows is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

README = Path(__file__).resolve().parents[2] / "README.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
PROMPT = re.compile(r"^In \[\d+\]: |^   \.\.\.: ?")


def fences() -> list[tuple[str, str]]:
    """(language, text) of each fenced block, in order."""
    return FENCE.findall(README.read_text())


def session() -> list[tuple[str, str]]:
    """(source, shown output) of each cell of the notebook session."""
    text = next(text for _, text in fences() if text.startswith("In [1]:"))
    cells = []
    for part in re.split(r"^(?=In \[\d+\]: )", text, flags=re.M)[1:]:
        lines = part.rstrip().splitlines()
        source = [PROMPT.sub("", line, count=1) for line in lines if PROMPT.match(line)]
        shown = [line for line in lines if not PROMPT.match(line)]
        cells.append(("\n".join(source), re.sub(r"^Out\[\d+\]: ", "", "\n".join(shown))))
    return cells


def test_session_gives_the_output_it_shows() -> None:
    cells = session()
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s, _ in cells])
    NotebookClient(book, timeout=60, kernel_name="python3").execute()
    given = []
    for cell in book.cells:
        results = [o for o in cell.outputs if o.output_type == "execute_result"]
        given.append("".join(o["data"]["text/plain"] for o in results))
        assert [o for o in cell.outputs if o.get("name") == "stderr"] == []
    assert given == [shown for _, shown in cells]
    assert len(cells) == 5


def test_script_gives_the_output_it_shows(tmp_path: Path) -> None:
    blocks = fences()
    at = next(i for i, (language, _) in enumerate(blocks) if language == "python")
    script = tmp_path / "squares.py"
    script.write_text(blocks[at][1])
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.stdout, done.stderr) == (blocks[at + 1][1], "")
