"""`twingraph lineage serve` as a process: the graph of what runs, and a graph in a file."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from gremlin_python.driver.driver_remote_connection import DriverRemoteConnection
from gremlin_python.driver.protocol import GremlinServerError
from gremlin_python.process.anonymous_traversal import traversal
from gremlin_python.process.graph_traversal import GraphTraversalSource

from twingraph_nb import component, pipeline
from twingraph_nb.lineage import graphson
from twingraph_nb.runs.cli import main
from twingraph_nb.session import close_session, get_session

LINE = re.compile(r'DriverRemoteConnection\("(?P<url>[^"]+)".*password="(?P<token>[^"]+)"')


@contextmanager
def serving(*words: str, end: int = signal.SIGTERM) -> Iterator[GraphTraversalSource]:
    """A `g` that asks a server of its own, got in by the line it prints. It ends well."""
    command = [
        sys.executable,
        "-m",
        "twingraph_nb.runs.cli",
        "lineage",
        "serve",
        "--port",
        "0",
        *words,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            found = LINE.search(process.stdout.readline())
            assert found is not None
            password = found["token"]
            if password == "...":
                password = Path(words[words.index("--token-file") + 1]).read_text().strip()
            connection = DriverRemoteConnection(
                found["url"], "g", username="twingraph", password=password, pool_size=1
            )
            with closing(connection):
                yield traversal().with_(connection)
        finally:
            process.send_signal(end)
            process.stdout.read()
            assert process.wait(60) == 0


def test_a_run_is_seen_through_the_server_while_it_goes_on(home: Path, tmp_path: Path) -> None:
    """The server is there first: the store comes with the first run."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    @component
    def first(path: str) -> str:
        return path

    @component(platform="local")
    def second(path: str) -> int:
        with open(path) as file:
            return len(file.read())

    @pipeline()
    def story(path: str) -> object:
        return second(first(path))

    with serving() as g:
        assert g.V().count().next() == 0
        run = story(str(gate))
        with open(gate, "w") as file:  # opens when the second task has begun to read
            get_session().driver.flush_to_disk()
            while g.V().has("Name", "second").has("state", "running").count().next() == 0:
                pass
            states = g.V().has_label("Task").group_count().by("state").next()
            assert states == {"succeeded": 1, "running": 1}
            assert g.V().has("Name", "second").in_("feeds").values("Name").to_list() == ["first"]
            file.write("12345")
        assert run.result(60) == 5
        close_session()
        while g.V().has("Name", "second").has("state", "succeeded").count().next() == 0:
            pass
        assert g.V().has("Name", "second").values("Output").next() == "5"
        with pytest.raises(GremlinServerError, match="not read only: addV"):
            g.add_v("x").iterate()


def test_a_graph_of_ones_own_is_kept_in_its_file(tmp_path: Path) -> None:
    file, token = tmp_path / "mine.json", tmp_path / "token"
    token.write_text("a token of our own\n")
    for number, end in enumerate((signal.SIGTERM, signal.SIGINT)):
        with serving("--free", str(file), "--token-file", str(token), end=end) as g:
            assert g.V().has_label("note").count().next() == number
            g.add_v("note").property("n", number).as_("a").add_e("is").to("a").iterate()
    kept = graphson.load(file)
    assert sorted(v.value("n") for v in kept.vertices.values()) == [0, 1]  # type: ignore[type-var]
    assert len(kept.edges) == 2
    assert list(tmp_path.iterdir()) in ([file, token], [token, file])


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--host", "0.0.0.0"], "reads the token"),
        (["--free", "{tmp}/bad.json"], "line 1 is not JSON"),
        (["--free", "{tmp}/none/a.json"], "no folder to write into"),
        (["--token-file", "{tmp}/none"], "cannot be read"),
        (["--token-file", "{tmp}/bad.json"], "at least 16"),
        (["--cert", "{tmp}/bad.json"], "no certificate"),
        (["--key", "{tmp}/bad.json"], "give --cert too"),
        (["more"], "write: twingraph lineage serve"),
    ],
)
def test_what_keeps_it_from_serving_is_said(
    words: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.json").write_text("no JSON")
    given = [word.format(tmp=tmp_path) for word in words]
    assert main(["lineage", "serve", *given, "--port", "0"]) == 1
    assert why in capsys.readouterr().err
