"""``%twingraph``, completion, help, and what loading costs."""

from __future__ import annotations

import asyncio
import re

import pytest
from IPython.core.completer import provisionalcompleter

from tests.magics.conftest import Notebook
from twingraph_nb.component import shelf
from twingraph_nb.errors import RunError, TwingraphError
from twingraph_nb.magics.status import COMMANDS
from twingraph_nb.platforms import PLATFORMS
from twingraph_nb.session import get_session


def completions(notebook: Notebook, line: str) -> list[str]:
    """As a kernel asks, with the cursor at the end of the first line of a cell."""
    with provisionalcompleter():
        found = notebook.shell.Completer.completions(f"{line}\nx = 1", len(line))
        return [one.text for one in found]


def test_commands_show_what_is_there(notebook: Notebook) -> None:
    notebook.good("%%component inc(x) -> y --retries 2\ny = x + 1")
    notebook.good("%%pipeline flow(n=1)\ninc(n)")
    run = notebook.good("run = flow()\nrun.result(30)\nrun.id")
    told = str(notebook.good("%twingraph"))
    assert "components  1" in told
    assert re.search(r"memory +[\d,]+ MiB", told)
    assert f"{run}  flow" in str(notebook.good("%twingraph runs"))
    shown = str(notebook.good("%twingraph components"))
    assert "inc   (x) -> y  local     retries 2" in shown
    platforms = str(notebook.good("%twingraph platforms"))
    assert "process     ready" in platforms
    assert "celery" in platforms
    assert notebook.good("%twingraph show flow") is notebook["run"]
    assert notebook.good(f"%twingraph show {str(run)[:14]}") is notebook["run"]


def test_run_of_another_session_is_shown_from_the_store(notebook: Notebook) -> None:
    notebook.good("%%component inc(x) -> y\ny = x + 1")
    notebook.good("%%pipeline flow(n=1)\ninc(n)")
    run_id = notebook.good("run = flow()\nrun.result(30)\nrun.id")
    get_session().store.flush()  # type: ignore[union-attr]
    get_session().close()
    notebook.shell.user_ns.pop("run")
    shown = notebook.good(f"%twingraph show {run_id}")
    assert "inc" in str(shown)
    assert "<img" in shown._repr_html_()  # type: ignore[attr-defined]
    for word in ("cancel", "pause"):
        said = str(notebook.bad(f"%twingraph {word} {run_id}"))
        assert said.endswith(f"does not run in this session: `!twingraph {word} {run_id}`")


def test_cancel_stops_a_run(notebook: Notebook) -> None:
    notebook.good("%%component hang() -> y\nimport asyncio\ny = await asyncio.sleep(600)")
    notebook.good("%%pipeline flow\nhang()")
    run_id = notebook.good("run = flow()\nrun.id")
    said = notebook.good("%twingraph cancel flow")
    assert str(said) == f"asked run {run_id} (flow) to stop"
    with pytest.raises(RunError):
        notebook["run"].result(30)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "shwo",
            "%twingraph has no command 'shwo' (did you mean 'show'?); it has "
            + ", ".join(["run", *COMMANDS]),
        ),
        (
            "show",
            "%twingraph show wants one run: its id, the beginning of it, its name, or `last`",
        ),
        ("runs all", "%twingraph runs takes nothing more, not 'all'"),
        ("nest please", "%twingraph nest takes nothing, or `off`"),
    ],
)
def test_bad_command_is_refused(notebook: Notebook, line: str, message: str) -> None:
    error = notebook.bad(f"%twingraph {line}")
    assert isinstance(error, TwingraphError)
    assert str(error) == message


def test_nest_lets_asyncio_run_work_under_a_running_loop(notebook: Notebook) -> None:
    own = asyncio.run

    async def inner() -> int:
        return await asyncio.sleep(0, 42)

    async def outer() -> object:
        return asyncio.run(inner())

    notebook.good("%twingraph nest")
    notebook.good("%twingraph nest")
    assert own(outer()) == 42
    notebook.good("%twingraph nest off")
    assert asyncio.run is own


def test_error_of_a_nested_coroutine_comes_out(notebook: Notebook) -> None:
    async def inner() -> None:
        raise KeyError("boom")

    async def outer() -> object:
        return asyncio.run(inner())

    notebook.good("%twingraph nest")
    with pytest.raises(KeyError, match="boom"):
        asyncio.run(outer())


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("%%component --ret", {"--retries", "--retry-on", "--retry-policy"}),
        ("%%component clean --platform ", set(PLATFORMS)),
        ("%%component clean --backoff ex", {"exponential"}),
        ("%%pipeline p --on-error c", {"continue"}),
        ("%%pipeline p --max", {"--max-parallel"}),
        ("%twingraph comp", {"components"}),
    ],
)
def test_lines_complete(notebook: Notebook, line: str, wanted: set[str]) -> None:
    assert wanted <= set(completions(notebook, line))


def test_help_of_the_magic_is_its_manual(notebook: Notebook) -> None:
    found = notebook.shell.object_inspect("%%component")
    assert found["found"]
    assert "Body form" in found["docstring"]


def test_unload_takes_everything_away(notebook: Notebook) -> None:
    notebook.good("%unload_ext twingraph_nb")
    assert notebook.shell.find_cell_magic("component") is None
    assert notebook.shell.find_line_magic("twingraph") is None
    notebook.good("%load_ext twingraph_nb")


def test_card_follows_the_theme_and_escapes(notebook: Notebook) -> None:
    notebook.good("%%component f(x='<b>') -> y\ny = x")
    html = notebook.shell.display_formatter.format(shelf.components["f"])[0]["text/html"]
    assert "&lt;b&gt;" in html
    assert "<b>'" not in html
    assert "var(--jp-ui-font-color1" in html
