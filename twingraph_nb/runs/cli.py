"""The command `twingraph`: what was run, how it went, what it printed; and running a notebook."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from twingraph_nb import __version__
from twingraph_nb.errors import ExecutorMissing, RunError, TwingraphError, suggestion
from twingraph_nb.policy import seconds_of
from twingraph_nb.runs import answers, control, lineage, selecting, workers
from twingraph_nb.settings import Settings
from twingraph_nb.store import Store

__all__ = ["main"]

FAILED, USAGE, INTERRUPTED = 1, 2, 130  # exit codes; 130 = 128 + SIGINT, as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code: 0 it went well, 1 it failed, 2 it was misused."""
    words = sys.argv[1:] if argv is None else list(argv)
    namespace = _parser(words).parse_args(words)
    if getattr(namespace, "home", None):
        os.environ["TWINGRAPH_HOME"] = str(Path(namespace.home).expanduser().absolute())
    try:
        return int(namespace.act(namespace))
    except TwingraphError as exc:
        sys.stderr.write(f"twingraph: {exc}\n")
    except ValueError as exc:  # a number in the environment that is none
        sys.stderr.write(f"twingraph: {exc}\n")
        return USAGE
    except BrokenPipeError:  # `twingraph logs last | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return INTERRUPTED
    return FAILED


# -- what is understood ---------------------------------------------------------------------------


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument(
        "--home",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="folder of the store (default: TWINGRAPH_HOME, or the user's data folder)",
    )
    parser = argparse.ArgumentParser(
        prog="twingraph", description="Runs of twingraph_nb on this machine.", parents=[place]
    )
    parser.add_argument("--version", action="version", version=f"twingraph {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    run = commands.add_parser("run", help="run a notebook as a batch job", parents=[place])
    if "run" in words:  # its arguments live beside papermill, which takes a while to load
        from twingraph_nb.runs import batch

        batch.add_arguments(run)
        run.set_defaults(act=batch.main)
    _add_reading(commands, place)
    control.add_arguments(commands, place)
    answers.add_arguments(commands, place)
    lineage.add_arguments(commands, place)
    worker = commands.add_parser("worker", help="run tasks that kernels send", parents=[place])
    workers.add_arguments(worker)
    gc = commands.add_parser("gc", help="remove old runs, values and builds", parents=[place])
    gc.add_argument(
        "--older-than",
        type=_seconds,
        required=True,
        metavar="AGE",
        help="runs that ended and builds used last longer ago than this: 30d, 12h, 2w",
    )
    gc.add_argument("--keep-last", type=_count, default=0, metavar="N", help="newest runs to keep")
    gc.add_argument(
        "--images",
        action="store_true",
        help="also Docker images that were built for components (build=)",
    )
    gc.add_argument("--dry-run", action="store_true", help="only say what would go")
    gc.set_defaults(act=_gc)
    return parser


def _add_reading(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], place: argparse.ArgumentParser
) -> None:
    runs = commands.add_parser("runs", help="list runs, newest first", parents=[place])
    runs.add_argument("--limit", type=_count, default=20, metavar="N", help="how many (20)")
    runs.add_argument("--json", action="store_true", help="as JSON, for programs")
    runs.set_defaults(act=_runs)
    show = commands.add_parser("show", help="show one run and its tasks", parents=[place])
    show.add_argument("run", metavar="RUN", help="id, the start of an id, or 'last'")
    show.add_argument("--all", action="store_true", help="each task, however many")
    show.add_argument("--json", action="store_true", help="as JSON, for programs")
    show.set_defaults(act=_show)
    logs = commands.add_parser("logs", help="show what tasks printed", parents=[place])
    logs.add_argument("run", metavar="RUN", help="id, the start of an id, or 'last'")
    logs.add_argument("task", metavar="TASK", nargs="?", help="name, number or hash of a task")
    logs.add_argument("-t", "--timestamps", action="store_true", help="say when, in UTC")
    logs.set_defaults(act=_logs)
    plan = commands.add_parser(
        "plan", help="say what resuming a run would run and reuse, and why", parents=[place]
    )
    plan.add_argument(
        "run", metavar="RUN", help="id, the start of an id, 'last', or a notebook: its newest run"
    )
    plan.add_argument("--all", action="store_true", help="each item of a map, however many")
    plan.add_argument("--json", action="store_true", help="as JSON, for programs")
    selecting.add_arguments(plan)
    plan.set_defaults(act=_plan)
    diff = commands.add_parser("diff", help="say how two runs differ", parents=[place])
    diff.add_argument("first", metavar="RUN", help="id, the start of an id, or 'last'")
    diff.add_argument("second", metavar="RUN", help="the other run")
    diff.add_argument("--json", action="store_true", help="as JSON, for programs")
    diff.add_argument("--html", metavar="FILE", help="also as a page with both runs as one graph")
    diff.set_defaults(act=_diff)


def _seconds(text: str) -> float:
    try:
        return seconds_of(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{exc}, not {text!r}") from None


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"wants a whole number, 0 or more, not {text!r}")
    return int(text)


# -- what is done ---------------------------------------------------------------------------------


def _runs(namespace: argparse.Namespace) -> int:
    home = Settings.load().home
    rows = []
    if Store.exists(home):
        with closing(Store.open(home, readonly=True)) as store:
            rows = store.runs(limit=namespace.limit)
    if namespace.json:
        from twingraph_nb.runs.tables import row_facts

        _write_json([row_facts(row) for row in rows])
    elif not rows:
        sys.stdout.write(f"no runs are recorded in {home}\n")
    else:
        from twingraph_nb.runs.tables import print_runs

        print_runs(rows, sys.stdout, time.time())
    return 0


def _show(namespace: argparse.Namespace) -> int:
    from twingraph_nb.picture.screen import screen_of
    from twingraph_nb.runs.tables import print_run, row_facts, task_facts

    with closing(Store.open(Settings.load().home, readonly=True)) as store:
        row = store.run(store.resolve(namespace.run))
        screen = screen_of(store.events(row.id))
        children = store.runs(limit=None, parent=row.id)
    if namespace.json:
        tasks = [task_facts(screen, task) for task in screen.tasks.values()]
        _write_json({**row_facts(row), "children": [one.id for one in children], "each": tasks})
    else:
        print_run(row, screen, children, sys.stdout, every=namespace.all)
    return 0


def _logs(namespace: argparse.Namespace) -> int:
    from twingraph_nb.runs.tables import log_lines, task_numbers

    with closing(Store.open(Settings.load().home, readonly=True)) as store:
        run = store.resolve(namespace.run)
        batches = store.events(run)
    names = task_numbers(batches)
    wanted: set[int] | None = None
    if namespace.task is not None:
        wanted = {n for n, called in names.items() if namespace.task in called.answers_to}
        wanted |= {n for n, c in names.items() if _is_start(namespace.task, c.hash)}
        if not wanted:
            known = [called.name for called in names.values()]
            near = suggestion(namespace.task, known)
            raise RunError(f"run {run} has no task {namespace.task!r}{near}")
    for line in log_lines(batches, names, wanted, timestamps=namespace.timestamps):
        sys.stdout.write(line)
    sys.stdout.flush()
    return 0


def _plan(namespace: argparse.Namespace) -> int:
    from twingraph_nb.runs import planning

    return planning.plan(namespace)


def _diff(namespace: argparse.Namespace) -> int:
    from twingraph_nb.runs import planning

    return planning.diff(namespace)


def _is_start(text: str, hash: str) -> bool:
    return len(text) >= 4 and hash.startswith(text)


def _gc(namespace: argparse.Namespace) -> int:
    from twingraph_nb.runs.tables import cleared_text, freed_text
    from twingraph_nb.store.cache import remove_unused, unused

    home, dry = Settings.load().home, namespace.dry_run
    if Store.exists(home):
        with closing(Store.open(home, readonly=dry)) as store:
            for note in store.notes:
                sys.stderr.write(f"twingraph: {note}\n")
            freed = store.gc(namespace.older_than, keep_last=namespace.keep_last, dry_run=dry)
        sys.stdout.write(freed_text(freed, dry_run=dry) + "\n")
    else:
        sys.stdout.write(f"no runs are recorded in {home}\n")
    clear = unused if dry else remove_unused
    found = clear(home / "cache", namespace.older_than)
    if found:
        sys.stdout.write(cleared_text(found, dry_run=dry) + "\n")
    if namespace.images:
        _gc_images(namespace.older_than, dry)
    return 0


def _gc_images(older_than: float, dry: bool) -> None:
    from twingraph_nb.runs.tables import images_text

    try:
        from twingraph_nb.executors.docker_unused import remove_unused_images
    except ModuleNotFoundError as exc:
        if (exc.name or "").startswith("twingraph_nb"):
            raise
        raise ExecutorMissing("docker", "docker") from exc
    found = remove_unused_images(older_than, dry_run=dry)
    sys.stdout.write(images_text(found, dry_run=dry) + "\n")


def _write_json(value: object) -> None:
    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    sys.exit(main())
