"""``twingraph run``: a notebook as a repeatable job with an exit code and a report."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twingraph_nb.errors import NotebookError, RunError
from twingraph_nb.runs import selecting

if TYPE_CHECKING:
    from twingraph_nb.runs.record import NotebookRecord
    from twingraph_nb.selection import Selection

__all__ = ["add_arguments", "main"]

_MOST_ANSWERS = 100_000  # characters that an environment takes in one piece
INVALID = 2  # exit code when nothing was run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what ``twingraph run`` takes."""
    parser.add_argument("notebook", help="the notebook to run (.ipynb)")
    parser.add_argument(
        "-p",
        "--param",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="set a parameter of the cell tagged 'parameters'; read as the type it has there",
    )
    parser.add_argument(
        "-y", "--yaml", action="append", default=[], metavar="TEXT",
        help="parameters as YAML text: \"{top: 10, names: [a, b]}\"",
    )  # fmt: skip
    parser.add_argument(
        "-f", "--params-file", action="append", default=[], metavar="FILE",
        help="parameters from a YAML or JSON file",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--out", metavar="DIR",
        help="where the executed notebook and report.html go (default: out/NOTEBOOK-TIME)",
    )  # fmt: skip
    parser.add_argument("--kernel", metavar="NAME", help="run it in this kernel")
    parser.add_argument(
        "--cwd", metavar="DIR", help="the kernel's folder (default: the notebook's)"
    )
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="stop it when it takes longer in all"
    )
    parser.add_argument(
        "--resume", metavar="RUN",
        help="go on with an earlier run: what it finished is not done again, its parameters "
        "hold unless given anew; 'last' is the notebook's newest run",
    )  # fmt: skip
    parser.add_argument(
        "--answers", metavar="FILE",
        help="YAML or JSON: answers to what the notebook asks, by task or by question",
    )  # fmt: skip
    parser.add_argument(
        "--no-input", action="store_true",
        help="nobody is there to answer: a question without answer or default fails at once",
    )  # fmt: skip
    parser.add_argument("--no-report", action="store_true", help="write no report.html")
    selecting.add_arguments(parser)


def main(namespace: argparse.Namespace) -> int:
    """Run the notebook that the arguments name; gives the exit code.

    0: it succeeded. 1: a cell, a run or the kernel failed. 2: it was not run at all, because
    an argument or the notebook itself is wrong. 130: stopped by Ctrl-C.
    """
    try:
        return _run(namespace)
    except (NotebookError, RunError) as exc:
        sys.stderr.write(f"twingraph run: {exc}\n")
        return INVALID
    except KeyboardInterrupt:  # before there is a kernel to interrupt
        return 130


def _run(namespace: argparse.Namespace) -> int:
    with _without_slow_grammar():
        from papermill.engines import NotebookExecutionManager

        from twingraph_nb.runs import notebook as notebooks
    from twingraph_nb.runs.job import Limits, carry_out, settings
    from twingraph_nb.runs.record import NotebookRecord
    from twingraph_nb.runs.terminal import terminal_for

    path = Path(namespace.notebook)
    nb = notebooks.load(path)
    kernel = notebooks.kernel_for(nb, namespace.kernel, notebook=path.name)
    params = _parameters(namespace, nb, path.name, kernel.language)
    chosen = selecting.selected_by(namespace)
    selecting.check_cells(chosen, nb.cells)
    folder = _folder(namespace.out, path)
    record = NotebookRecord(settings(), str(path.resolve()), {})
    record.told = {**_people(namespace), **selecting.environment(chosen)}
    record.selected = str(chosen)
    if namespace.resume:
        params = {**record.resume(namespace.resume), **params}
    record.take(params)
    target = folder / path.name
    nb = notebooks.with_parameters(nb, params, kernel, source=path, target=target)
    manager = NotebookExecutionManager(nb, output_path=str(target), progress_bar=False)
    manager.notebook_start()
    try:
        ending = carry_out(
            manager,
            kernel.name,
            record,
            terminal_for(sys.stderr),
            limits=Limits(notebook=namespace.timeout),
            cwd=str(Path(namespace.cwd) if namespace.cwd else path.resolve().parent),
        )
    finally:
        manager.notebook_complete()
    sys.stdout.write(f"notebook  {target}\n")
    if not namespace.no_report:
        from twingraph_nb.runs.report import write_report

        write_report(folder / "report.html", manager.nb, record, ending)
        sys.stdout.write(f"report    {folder / 'report.html'}\n")
    if record.trouble:
        sys.stderr.write(f"twingraph run: {record.trouble}\n")
    answers, unmet = _not_met(record, chosen)
    record.close()
    for said in filter(None, (answers, unmet)):
        sys.stderr.write(f"twingraph run: {said}\n")
    return ending.code or int(bool(unmet))


def _not_met(record: NotebookRecord, chosen: Selection) -> tuple[str, str]:
    """Say which answers nothing has asked for, and which tasks were chosen that are not there."""
    from twingraph_nb.runs.answers import unasked

    given = json.loads(record.told.get("TWINGRAPH_ANSWERS", "{}"))
    logs = [record.events(run) for run in record.ids()] if given or chosen else []
    if record.trouble and not logs:
        return "", ""  # nobody knows: it was not recorded
    unmet = selecting.unmet(chosen, selecting.tasks_of(logs)) if chosen else ""
    return unasked(given, logs), unmet


def _people(namespace: argparse.Namespace) -> dict[str, str]:
    """What the kernel's environment says of answers to questions."""
    found: dict[str, str] = {}
    if namespace.no_input:
        found["TWINGRAPH_NO_INPUT"] = "1"
    if namespace.answers:
        where = f"file of answers {namespace.answers}"
        try:
            text = Path(namespace.answers).read_text(encoding="utf-8")
            text = json.dumps(_mapping(text, where, "tasks or questions, like {deploy: yes}"))
        except (OSError, UnicodeDecodeError, TypeError, ValueError) as exc:
            raise NotebookError(f"{where} cannot be read: {exc}") from None
        if len(text) > _MOST_ANSWERS:
            raise NotebookError(f"{where} has more than {_MOST_ANSWERS} characters")
        found["TWINGRAPH_ANSWERS"] = text
    return found


def _parameters(
    namespace: argparse.Namespace, nb: Any, name: str, language: str
) -> dict[str, object]:
    """All parameters that were given, in the order file, YAML text, -p; later ones win."""
    from twingraph_nb.runs.parameters import check, converted

    given: dict[str, object] = {}
    for file in namespace.params_file:
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise NotebookError(f"parameters file {file} cannot be read: {exc}") from None
        given.update(_mapping(text, f"parameters file {file}"))
    for text in namespace.yaml:
        given.update(_mapping(text, "-y"))
    check(nb.cells, given, notebook=name, language=language)
    pairs = [tuple(pair) for pair in namespace.param]
    given.update(converted(nb.cells, pairs, notebook=name, language=language))
    return given


def _mapping(
    text: str, where: str, what: str = "parameters, like {top: 10}"
) -> Mapping[str, object]:
    import yaml  # type: ignore[import-untyped]  # comes with papermill

    try:
        body = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise NotebookError(f"{where} is not valid YAML: {exc}") from None
    if not isinstance(body, dict) or not all(isinstance(key, str) for key in body):
        raise NotebookError(f"{where} must name {what}; it is {body!r}")
    return body


def _folder(wanted: str | None, notebook: Path) -> Path:
    folder = Path(wanted) if wanted else _fresh(notebook)
    if folder.resolve() == notebook.resolve().parent:
        raise NotebookError(f"-o {folder}: the executed notebook would replace {notebook.name}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise NotebookError(f"-o {folder} cannot be made: {exc}") from None
    return folder


def _fresh(notebook: Path) -> Path:
    name = f"{notebook.stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder, again = Path("out") / name, 2
    while folder.exists():
        folder, again = Path("out") / f"{name}-{again}", again + 1
    return folder


@contextlib.contextmanager
def _without_slow_grammar() -> Iterator[None]:
    """Leave out a grammar of web addresses that jsonschema builds at import, if it is installed.

    It takes more than a second and is optional to jsonschema; no notebook's schema needs it.
    """
    name = "rfc3987_syntax"
    absent = name not in sys.modules
    if absent:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if absent:
            del sys.modules[name]
