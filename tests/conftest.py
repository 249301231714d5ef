"""What every test gets: its own TWINGRAPH_HOME, and no session left over from the one before."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder this test's runs are kept in; the process's session is closed afterwards."""
    folder = tmp_path / "twingraph-home"
    monkeypatch.setenv("TWINGRAPH_HOME", str(folder))
    yield folder
    # A test that never made a session must not pay for importing one.
    session = sys.modules.get("twingraph_nb.session")
    if session is not None:
        session.close_session()


def _skipped(config: pytest.Config) -> list[str]:
    """The skips of this process's run, as "test: reason"; those of xdist workers come here too."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if not IN_CI or reporter is None or hasattr(config, "workerinput"):
        return []
    found = []
    for report in reporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        found.append(f"{report.nodeid}: {reason}")
    return found


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.exitstatus == pytest.ExitCode.OK and _skipped(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = _skipped(terminalreporter.config)
    if skipped:
        terminalreporter.section("skipped, which CI counts as failed", red=True)
        for line in skipped:
            terminalreporter.write_line(line)
