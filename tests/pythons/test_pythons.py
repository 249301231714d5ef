"""The core runs on every supported Python that this machine has.

One test for each interpreter that is found besides the running one; none for those that are not
there. The environments are kept below ``out/venvs`` and made again when the pins change.
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

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
ROOMS = ("graph", "scheduler", "source", "store", "wire", "session")
PROCESSES = sorted((ROOT / "tests" / "executors").glob("test_process_*.py"))
PINS = ROOT / "binder" / "requirements.txt"
NEEDS = (
    "cloudpickle", "hypothesis", "ipython", "msgspec", "numpy", "pandas", "platformdirs", "psutil",
    "pyarrow", "pydantic", "pytest", "pytest-asyncio", "pytest-timeout",
)  # fmt: skip
WORKS = "import sys, venv, ensurepip, sqlite3; print('%d.%d' % sys.version_info[:2])"


def interpreters() -> dict[str, str]:
    """Version -> path of the other supported interpreters that start."""
    running = "{}.{}".format(*sys.version_info[:2])
    found = {}
    for version in VERSIONS:
        name = f"python{version}"
        places = [shutil.which(name), f"/usr/bin/{name}", f"/usr/local/bin/{name}"]
        versions = Path.home().glob(f".pyenv/versions/{version}.*/bin/{name}")
        for place in (*places, *map(str, sorted(versions, reverse=True))):
            if version != running and version not in found and place and starts(place, version):
                found[version] = place
    return found


def starts(place: str, version: str) -> bool:
    """True if it is an interpreter of that version with all that is needed here."""
    try:
        done = subprocess.run([place, "-c", WORKS], capture_output=True, text=True, timeout=20)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version


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
    said(interpreter, "-m", "venv", str(folder))
    pip = (str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check")
    said(*pip, "--constraint", str(PINS), *NEEDS)
    said(*pip, "--no-deps", "--editable", str(ROOT))
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


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("version", "interpreter"), interpreters().items())
def test_core_suites_pass_on(version: str, interpreter: str) -> None:
    python = environment(version, interpreter)
    rooms = [f"tests/{room}" for room in ROOMS if (ROOT / "tests" / room).is_dir()]
    rooms += [str(path.relative_to(ROOT)) for path in PROCESSES]  # others want client libraries
    out = said(str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *rooms)
    assert int(re.search(r"(\d+) passed", out)[1]) > 100
