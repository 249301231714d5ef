"""`twingraph lineage` as a person and as a program use it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lineage.runs import RUN, batches, story
from twingraph_nb.lineage import graphml, graphson
from twingraph_nb.lineage.spoken import QUESTIONS
from twingraph_nb.runs.cli import main
from twingraph_nb.store import Store

SECOND = "bbbb000000000002"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("TWINGRAPH_HOME", str(folder))
    store = Store.open(folder)
    store.emit([*batches(story()), *batches(story(SECOND, at=500.0), SECOND)])
    assert store.flush(60)
    store.close()
    return folder


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["made-by", "blob8"], ["maker", "ancestor", "clean", "load"]),
        (["used-by", f"{RUN}00000001"], ["fit", "report"]),
        (["used-by", "a.csv"], ["user", "load", "report"]),
        (["diff", RUN, "last"], ["nothing"]),
        (["who-changed", "clean"], ["first version", "ann"]),
        (["stale"], ["nothing"]),
        (["blast", "load"], ["clean", "train"]),
        (["slowest"], ["fit", "clean"]),
        (["failures"], ["OSError: gone"]),
        (["failures", "--since", "1h"], ["nothing"]),
        (["schema"], ["Parent Hash", "skipped_because_of", "Artifact"]),
        (["query", "g.V().has('Task','state','failed').values('Name').dedup()"], ["fit"]),
    ],
)
def test_questions_are_answered_as_tables(
    words: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lineage", *words]) == 0
    told = capsys.readouterr().out
    assert [one for one in expected if one not in told] == []


@pytest.mark.usefixtures("home")
def test_every_question_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["lineage", "--help"])
    told = capsys.readouterr().out
    assert [name for name in QUESTIONS if name not in told] == []


@pytest.mark.usefixtures("home")
def test_answers_are_data_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lineage", "failures", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["attempts"]) for row in rows] == [("fit", 2), ("fit", 2)]
    assert main(["lineage", "query", "g.V('pipeline:train')", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == [{"id": "pipeline:train", "label": "Pipeline", "properties": {"name": "train"}}]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["madeby", "x"], "did you mean 'made-by'"),
        (["made-by"], "ask made-by X"),
        (["made-by", "nowhere"], "no task, value or file"),
        (["who-changed", "claen"], "did you mean 'clean'"),
        (["failures", "--since", "soon"], "wants a time"),
        (["query", "g.V().outt()"], "line 1, column 7"),
        (["query", "g.V().drop()"], "read only"),
        (["export", "graphsn"], "did you mean 'graphson'"),
        (["export", "prov", "--run", "zzzz"], "no run 'zzzz'"),
        (["forget"], "twingraph lineage forget RUN"),
        (["forget", "zzzz"], "no run is called"),
    ],
)
def test_what_is_wrong_is_said(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lineage", *words]) == 1
    assert why in capsys.readouterr().err


def test_exports_are_files_that_can_be_read(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for form in ("graphson", "graphml", "prov", "openlineage"):
        whole, part = tmp_path / f"{form}.all", tmp_path / f"{form}.one"
        assert main(["lineage", "export", form, "-o", str(whole)]) == 0
        assert main(["lineage", "export", form, "--run", RUN[:5], "-o", str(part)]) == 0
        assert SECOND in whole.read_text() or form == "openlineage"
        assert SECOND not in part.read_text()
        assert len(part.read_text()) > 1000
    assert len(graphson.load(tmp_path / "graphson.all").labelled("Task")) == 9  # type: ignore[arg-type]
    assert len(graphml.load(tmp_path / "graphml.one").labelled("Run")) == 1  # type: ignore[arg-type]
    json.loads((tmp_path / "prov.one").read_text())
    capsys.readouterr()
    assert main(["lineage", "export", "openlineage", "--run", "last"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 10


@pytest.mark.usefixtures("home")
def test_a_forgotten_run_is_out_of_the_graph_and_stays_in_the_store(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["lineage", "forget", RUN[:6]]) == 0
    capsys.readouterr()
    assert main(["lineage", "query", "g.V().hasLabel('Run').values('run')"]) == 0
    told = capsys.readouterr().out
    assert (RUN in told, SECOND in told) == (False, True)
    assert main(["show", RUN]) == 0


def test_an_empty_store_has_an_empty_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TWINGRAPH_HOME", str(tmp_path / "nothing"))
    assert main(["lineage", "failures"]) == 0
    assert capsys.readouterr().out == "nothing\n"
