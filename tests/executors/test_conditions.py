"""What `%twingraph platforms` says: what is ready, missing or away, why, and what runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.services.base import free_port
from twingraph_nb import component
from twingraph_nb.executors import dask_cluster
from twingraph_nb.magics.status import COMMANDS
from twingraph_nb.platforms import PLATFORMS
from twingraph_nb.session import Session

FAR = {name: platform.extra for name, platform in PLATFORMS.items() if platform.extra}
CURES = {
    "docker": "Start Docker",
    "kubernetes": "Start one (kind, k3d, minikube)",
    "lambda": "Check the network, and the component's options region= and endpoint_url=",
    "batch": "Check the network, and the component's options region= and endpoint_url=",
    "celery": "Start one with `redis-server --port {}`",
    "dask": "Start one with `dask scheduler`",
}
CLIENTS = {"docker", "kubernetes", "boto3", "botocore", "celery", "kombu", "redis", "distributed"}
WITHOUT = """
import contextlib, io, json, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in CLIENTS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

CLIENTS = set(json.loads(sys.argv[1]))
sys.meta_path.insert(0, Missing())

from twingraph_nb import component
from twingraph_nb.runs.cli import main
from twingraph_nb.session import get_session

@component
def same(x):
    return x

def said(platform):
    try:
        return same.on(platform)(1).result(60)
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"

told = {name: said(name) for name in json.loads(sys.argv[2])}
with contextlib.redirect_stderr(io.StringIO()) as written:
    code = main(["worker", "celery", "--broker", "redis://127.0.0.1"])
found = {name: condition for name, (condition, _) in get_session().platforms().items()}
print(json.dumps([found, told, code, written.getvalue()]))
"""

LOADED = """
import json, sys
from twingraph_nb import component

@component
def same(x):
    return x

if __name__ == "__main__":
    made = [same.on(name) for name in json.loads(sys.argv[1])]
    assert made[0].on("process")(1).result(60) == 1
    print(json.dumps(sorted(sys.modules)))
"""


def ran(folder: Path, script: str, *words: object) -> Any:
    """What a script of a user prints, which gets words as JSON. On its path is its folder."""
    file = folder / "script.py"
    file.write_text(script)
    done = subprocess.run(
        [sys.executable, str(file), *map(json.dumps, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_without_the_extras_each_platform_says_its_pip_line(tmp_path: Path) -> None:
    about = tmp_path / "broken-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    entry = "[twingraph_nb.executors]\nanothers = a_module_that_is_not_there:Executor\n"
    (about / "entry_points.txt").write_text(entry)
    found, told, code, written = ran(tmp_path, WITHOUT, sorted(CLIENTS), [*FAR, "local"])
    lines = {name: f"pip install 'twingraph-nb[{extra}]'" for name, extra in FAR.items()}
    assert {name: found[name] for name in FAR} == {
        n: ["missing", line] for n, line in lines.items()
    }
    assert (found["local"][0], found["process"][0]) == ("ready", "ready")
    # A platform of another package that cannot be loaded hides no other.
    assert found["anothers"][0] == "unreachable"
    assert "a_module_that_is_not_there" in found["anothers"][1]
    for name, line in lines.items():
        assert told[name] == f"ExecutorMissing: platform {name!r} needs: {line}"
    assert told["local"] == 1
    assert (code, written) == (1, f"twingraph: platform 'celery' needs: {lines['celery']}\n")


def test_client_libraries_are_loaded_at_first_use(tmp_path: Path) -> None:
    loaded = {name.partition(".")[0] for name in ran(tmp_path, LOADED, [*PLATFORMS])}
    assert loaded & (CLIENTS | {"dask", "cryptography", "fsspec"}) == set()


@component(platform="process")
def waits(gate: str) -> None:
    import os
    import time

    while not os.path.exists(gate):
        time.sleep(0.05)


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A port at which no platform answers, although each is looked for there."""
    port = free_port()
    place = f"127.0.0.1:{port}"
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [{"name": "here", "cluster": {"server": f"https://{place}"}}],
        "users": [{"name": "me", "user": {"token": "none"}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))
    environ = {
        "DOCKER_HOST": f"tcp://{place}",
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
        "AWS_ENDPOINT_URL": f"http://{place}",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": "us-east-1",
        "TWINGRAPH_CELERY_BROKER": f"redis://:hush@{place}/0",
        "TWINGRAPH_SECRET": "a secret of the tests, long enough",
        "TWINGRAPH_DASK_ADDRESS": f"tcp://{place}",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(dask_cluster, "_PATIENCE", 0.5)
    monkeypatch.setattr(Session.platforms, "__defaults__", (100.0,))  # the machine may be busy
    return port


def test_the_table_says_what_was_tried_the_cure_and_what_runs(away: int, tmp_path: Path) -> None:
    task = waits(str(tmp_path / "gate"))
    while task.state != "running":
        time.sleep(0.01)
    rows = [line.split(maxsplit=2) for line in str(COMMANDS["platforms"]([])).splitlines()[2:]]
    (tmp_path / "gate").touch()
    task.result(60)

    found = {name: (state, said) for name, state, said in rows}
    assert list(found) == [*PLATFORMS]
    assert {name for name in found if found[name][0] == "ready"} == {"local", "process"}
    assert found["process"][1].split()[0] == "1"
    for name in FAR:
        state, said = found[name]
        assert state == "unreachable"
        assert said.startswith(f"platform {name!r} cannot be reached at ")
        assert f":{away}" in said
        assert CURES[name].format(away) in said
    assert "hush" not in str(rows)
