"""The core runs on every supported Python that this machine has.

One test for each interpreter that is found besides the running one; none for those that are not
there. The oldest and the newest run what a Python's version may change, those between them what
reads and makes code. The environments are kept below ``out/venvs`` and made again when the pins
change.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.pythons.found import places_of, said_by

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
READS_CODE = ("tests/source", "tests/wire/test_failure.py", "tests/session/test_calls.py")
PROCESSES = sorted((ROOT / "tests" / "executors").glob("test_process_*.py"))
CORE = (
    *(f"tests/{room}" for room in ("graph", "scheduler", "source", "store", "wire", "session")),
    *(str(path.relative_to(ROOT)) for path in PROCESSES),  # others want client libraries
)
SAME = (
    "tests/executors/test_process_memory.py", "tests/session/test_fold.py",
    "tests/store/test_builds.py", "tests/store/test_crash.py", "tests/store/test_faults.py",
    "tests/store/test_sweep.py", "tests/wire/test_fuzz.py",
)  # fmt: skip
"""Of these about files, sealed memory and our own folds, which no version of Python changes."""
PINS = ROOT / "binder" / "requirements.txt"
NEEDS = (
    "cloudpickle", "hypothesis", "ipython", "msgspec", "numpy", "pandas", "platformdirs", "psutil",
    "pyarrow", "pydantic", "pytest", "pytest-asyncio", "pytest-timeout", "rich",
)  # fmt: skip
WORKS = "import sys, venv, sqlite3; print('%d.%d' % sys.version_info[:2])"


def interpreters() -> dict[str, str]:
    """Version -> path of the other supported interpreters that start."""
    running = "{}.{}".format(*sys.version_info[:2])
    found = {}
    for version in VERSIONS:
        for place in places_of(version) if version != running else ():
            if version not in found and said_by(place, WORKS) == version:
                found[version] = place
    return found


def environment(version: str, interpreter: str) -> Path:
    """The Python of an environment with the core and its test tools, made if need be."""
    folder = ROOT / "out" / "venvs" / version
    python = folder / "bin" / "python"
    wanted = hashlib.sha256(
        PINS.read_bytes()
        + (ROOT / "pyproject.toml").read_bytes()
        + " ".join((*NEEDS, interpreter)).encode()
    ).hexdigest()
    stamp = folder / "ready"
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    said(interpreter, "-m", "venv", "--without-pip", str(folder))
    given = ("--constraint", str(PINS), *NEEDS)
    uv = (find_uv_bin(), "pip", "install", "--quiet", "--python", str(python))
    if subprocess.run((*uv, *given), capture_output=True, check=False).returncode:
        pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "-qq")
        pip += ("--disable-pip-version-check", "--no-compile")  # most of it is never imported
        said(*pip, *given)  # uv does not read pip's settings, such as a mirror
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "twingraph_nb.pth").write_text(f"{ROOT}\n")  # what --editable does, unbuilt
    stamp.write_text(wanted)
    return python


def said(*command: str, **env: str) -> str:
    """What a command printed, which must end well."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-8000:]}"
    return done.stdout


FOUND = interpreters()


def between(version: str) -> bool:
    """True if an older and a newer one run the tests too."""
    known = {sys.version_info[:2], *map(numbers, FOUND)}
    return min(known) < numbers(version) < max(known)


def numbers(version: str) -> tuple[int, int]:
    major, minor = map(int, version.split("."))
    return major, minor


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("version", "interpreter"), FOUND.items())
def test_core_suites_pass_on(version: str, interpreter: str) -> None:
    python = environment(version, interpreter)
    given = READS_CODE if between(version) else CORE
    left = [f"--ignore={path}" for path in SAME]
    out = said(str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *left, *given)
    assert int(re.search(r"(\d+) passed", out)[1]) > 100


if not FOUND:
    del test_core_suites_pass_on  # with no parameters it would count as skipped
