"""A real JupyterLab and a real browser: started once, driven by cells."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from playwright.sync_api import Locator, Page, expect

__all__ = ["CHROMIUM", "FLAGS", "PATIENCE", "Lab", "Notebook", "Spot"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENS = Path(__file__).resolve().parents[2] / "out" / "screens"
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}
TOKEN = "browser-tests"
PATIENCE = 180_000
"""Milliseconds after which a page counts as hung: others make clusters meanwhile."""
_READY = "() => jupyterapp.shell.currentWidget.sessionContext.ready.then(() => true)"
_SHOW = """index =>
    jupyterapp.shell.currentWidget.content.scrollToItem(index, 'smart').then(() => true)"""
_RUN = """async index => {
    const notebook = jupyterapp.shell.currentWidget.content;
    notebook.activeCellIndex = index;
    await notebook.scrollToItem(index, 'smart');
    void jupyterapp.commands.execute('notebook:run-cell');
}"""


_BOXES = """element => [element, ...element.querySelectorAll('*')]
    .find(each => each._cyreg?.cy)._cyreg.cy.nodes().map(node => ({
        lines: node.data('label').split('\\n'), state: node.classes()[0],
        ...node.renderedPosition()}))"""


@dataclass(frozen=True)
class Spot:
    """A box on the page: what it says, its state, and where its middle is on the graph."""

    lines: list[str]
    state: str
    x: float
    y: float


class Lab:
    """A JupyterLab server with folders of its own. environ: more of its kernels' environment."""

    def __init__(self, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self.root = folder / "notebooks"
        self.root.mkdir(parents=True)
        app = folder / "app"
        shutil.copytree(Path(sys.prefix) / "share" / "jupyter" / "lab", app, symlinks=True)
        (app / "settings").mkdir(exist_ok=True)
        (app / "settings" / "overrides.json").write_text(json.dumps(SETTINGS))
        (app / "settings" / "page_config.json").write_text('{"buildCheck": false}')  # starts node
        self.port = _free_port()
        env = {
            **os.environ,
            **(environ or {}),
            "HOME": str(folder),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "IPYTHONDIR": str(folder / "ipython"),
            "TWINGRAPH_HOME": str(folder / "runs"),
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        }
        self._log = (folder / "lab.log").open("wb")
        self._server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "jupyterlab",
                "--no-browser",
                "--allow-root",
                "--ip=127.0.0.1",
                f"--port={self.port}",
                f"--IdentityProvider.token={TOKEN}",
                f"--ServerApp.root_dir={self.root}",
                f"--LabApp.app_dir={app}",
                "--ServerApp.port_retries=0",
                "--LabApp.expose_app_in_browser=True",
                "--LanguageServerManager.autodetect=False",  # it starts npm to look for some
            ],
            env=env,
            stdout=self._log,
            stderr=self._log,
        )
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert self._server.poll() is None, "JupyterLab ended before it was ready"
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api?token={TOKEN}", timeout=5)
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise TimeoutError("JupyterLab did not answer")

    def write(self, name: str, cells: Sequence[str]) -> Path:
        """Write a notebook of these code cells."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        )
        path = self.root / name
        nbformat.write(notebook, path)
        return path

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/lab/tree/{name}?token={TOKEN}&reset"

    def end_kernels(self) -> None:
        """Shut all kernels down, with their sessions."""
        for session in self._call("GET", "sessions"):
            self._call("DELETE", f"sessions/{session['id']}")

    def _call(self, method: str, what: str) -> list[dict[str, str]]:
        url = f"http://127.0.0.1:{self.port}/api/{what}?token={TOKEN}"
        with urllib.request.urlopen(urllib.request.Request(url, method=method)) as answer:
            body = answer.read()
        return json.loads(body) if body else []

    def close(self) -> None:
        self._server.terminate()
        try:
            self._server.wait(10)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._log.close()


class Notebook:
    """One notebook open in the browser."""

    def __init__(self, lab: Lab, page: Page, name: str, *, kernel: bool = True) -> None:
        self.lab, self.page, self.name = lab, page, name
        self.open(kernel=kernel)

    def open(self, *, kernel: bool = True) -> None:
        self.page.goto(self.lab.url(self.name))
        self.page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=PATIENCE)
        if kernel:
            self.page.wait_for_selector(
                ".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=PATIENCE
            )
            self.page.evaluate(_READY)

    def cell(self, index: int) -> Locator:
        return self.page.locator(f".jp-Notebook .jp-Cell[data-windowed-list-index='{index}']")

    def show(self, index: int) -> None:
        """Scroll to a cell: one that is far away is not on the page."""
        self.page.evaluate(_SHOW, index)

    def run(self, index: int, *, wait: bool = True) -> None:
        """Run a cell; by default until its number appears."""
        self.page.evaluate(_RUN, index)
        if wait:
            self.finished(index)

    def finished(self, index: int, timeout: float = PATIENCE) -> None:
        """Wait until the cell has run."""
        prompt = self.cell(index).locator(".jp-InputPrompt")
        expect(prompt).to_have_text(re.compile(r"^\[\d+\]:$"), timeout=timeout)

    def prompt(self, index: int) -> str:
        return (self.cell(index).locator(".jp-InputPrompt").text_content() or "").strip()

    def command(self, name: str, arguments: dict[str, str] | None = None) -> None:
        """Carry out a command of Lab, and wait until it is done."""
        call = "([name, args]) => jupyterapp.commands.execute(name, args).then(() => true)"
        self.page.evaluate(call, [name, arguments or {}])

    def graph(self, index: int) -> Locator:
        """The graph under a cell, scrolled into view."""
        graph = self.cell(index).locator(".tg-view .custom-widget:has(canvas)")
        graph.wait_for(state="attached", timeout=PATIENCE)
        graph.scroll_into_view_if_needed()
        return graph

    def boxes(self, index: int) -> list[Spot]:
        """The boxes of the graph under a cell, as cytoscape has them on the page."""
        return [Spot(**box) for box in self.graph(index).evaluate(_BOXES)]

    def click(self, index: int, name: str) -> Locator:
        """Click the first box of this name; gives the inspector's panel."""
        graph = self.graph(index)
        spot = next(box for box in self.boxes(index) if box.lines[0] == name)
        graph.click(position={"x": spot.x, "y": spot.y})
        panel = self.cell(index).locator(".tg-inspector")
        expect(panel.locator(".tg-title")).to_contain_text(name)
        return panel

    def shot(self, name: str, middle: Locator | None = None) -> None:
        """Keep a picture of the page for people to look at, with `middle` in its middle."""
        SCREENS.mkdir(parents=True, exist_ok=True)
        if middle is not None:
            middle.evaluate("element => element.scrollIntoView({block: 'end'})")
            self.page.wait_for_timeout(300)
        self.page.screenshot(path=SCREENS / f"{name}.png")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
