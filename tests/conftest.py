"""What every test gets: its own TWINGRAPH_HOME, and no session left over from the one before.

And the real services that a test may ask for by name. The first to ask starts one, all processes
of this run share it, and it ends with the run unless it was up before (see tests/services/base.py).
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.services import base, processes

FIRST = (
    "tests/browser",
    "tests/pythons/test_pythons.py",
    "tests/faults/test_network.py",
    "tests/notebooks/test_platforms_in_lab.py",
    "tests/notebooks/test_platforms.py",
    "tests/conformance/test_kubernetes.py",
    "tests/languages/test_in_pods.py",
    "tests/executors/test_kubernetes.py",
    "tests/faults/test_storms.py",
    "tests/services/test_services.py",
)
"""What takes a minute or more: one that began last would be waited for alone."""
TOGETHER = ("tests/browser",)
"""Folders whose files go to one worker, for they share one server and one browser."""
WRITES_NO_BYTECODE = sys.dont_write_bytecode
sys.dont_write_bytecode = False  # until all is read: hundreds of processes import it after this one
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
"""jsonschema does without; to import it takes as long as to collect all tests."""
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


@pytest.fixture(autouse=True)
def _names(home: Path) -> Iterator[None]:
    """What a test has defined is forgotten; what was defined before it is there again.

    Other files have defined their components when they were read, before any test ran.
    """
    component = sys.modules.get("twingraph_nb.component")
    if component is None:
        yield
        return
    kept = [
        (names, dict(names)) for names in (component.shelf.components, component.shelf.pipelines)
    ]
    yield
    for names, before in kept:
        names.clear()
        names.update(before)


@pytest.fixture(scope="session")
def docker_host() -> str:
    """The address of a Docker engine, "unix://..."."""
    return base.ensure("docker")["host"]


@pytest.fixture(scope="session")
def python_image(docker_host: str) -> str:
    """An image of the running Python, without any package."""
    from tests.services import images

    return images.python_image()


@pytest.fixture(scope="session")
def data_image(docker_host: str) -> str:
    """An image of the running Python with numpy, pandas, pyarrow and pydantic."""
    from tests.services import images

    return images.python_image(site=["numpy", "pandas", "pyarrow", "pydantic"])


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The address of a Redis, "redis://:password@127.0.0.1:port/0"."""
    return base.ensure("redis")["url"]


@pytest.fixture(scope="session")
def kubernetes() -> Mapping[str, str]:
    """The address of a cluster: ``kubeconfig``, ``image`` (a Python on its node) and more."""
    return base.ensure("kubernetes")


@pytest.fixture(scope="session")
def aws() -> Mapping[str, str]:
    """The address of an emulated AWS whose functions and jobs run in containers."""
    return base.ensure("aws")


def pytest_configure(config: pytest.Config) -> None:
    # Workers, and a pytest that a test starts, belong to the session that they find here.
    os.environ.setdefault(base.SESSION, processes.identity(os.getpid()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Only `--no-loadscope-reorder` leaves it at that: xdist would begin with the most tests.
    rank = {path: at for at, path in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(_unit(item.nodeid), len(FIRST)))


def _unit(nodeid: str) -> str:
    """What goes to one worker as a whole: the test's file, or its folder."""
    path = nodeid.partition("::")[0]
    folder = path.rpartition("/")[0]
    return folder if folder in TOGETHER else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give files out as `--dist loadfile` does, but those of some folders together."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling  # other Pythons run these tests without it

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _unit(nodeid)

    return Together(config, log)


def pytest_collection_finish() -> None:
    sys.dont_write_bytecode = WRITES_NO_BYTECODE  # modules that tests write may change in a second
    # Thousands of tests are half a million objects, and IPython searches all for garbage before
    # each test: it took longer than the tests.
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    # Not at sessionfinish: workers are stopped there, and they may still use what is up.
    mine = processes.identity(os.getpid())
    if os.environ.get(base.SESSION) == mine:
        base.leave_all(mine)
        del os.environ[base.SESSION]


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
