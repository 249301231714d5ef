"""Events of runs as facts of the graph: vertices and edges with ids of their own.

A fact says what is so, not what to do: writing it twice, or after a newer one of another run,
changes nothing. Within a run the order is kept by the numbers of its events, whatever the order
in which they come. So the same fold feeds the graph in memory and a database elsewhere, live and
again later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from twingraph_nb.events import (
    Asked,
    Batch,
    BodyDone,
    BodyErred,
    ComponentUsed,
    ErrorInfo,
    Event,
    MapExpanded,
    RunContinued,
    RunFinished,
    RunPaused,
    RunStarted,
    RunTimedOut,
    TaskAdded,
    TaskCancelled,
    TaskDone,
    TaskErred,
    TaskHeld,
    TaskReused,
    TaskSkipped,
    TaskStarted,
    TaskTicketed,
)
from twingraph_nb.graph.summary import without_secrets
from twingraph_nb.lineage.changes import Changes, Versions
from twingraph_nb.lineage.people import DEEDS, account, deed, person
from twingraph_nb.lineage.places import code_place, git_history
from twingraph_nb.lineage.redact import (
    cut,
    masked,
    secret_ports,
    shown,
    source_shown,
)
from twingraph_nb.lineage.schema import MANY, PREVIEW, SOURCE

__all__ = ["Folder"]

_NO_PROPERTIES: Mapping[str, object] = {}


class _Run:
    """What the fold remembers of a run while it goes on."""

    __slots__ = ("attempts", "began", "components", "early", "hashes", "id", "next", "origin")

    def __init__(self, id: str) -> None:
        self.id = id
        self.next = 0  # number of the event that comes next
        self.early: dict[int, Batch] = {}  # that came before their turn
        self.origin: Mapping[str, str] = {}
        self.components: dict[str, tuple[dict[str, object], frozenset[str]]] = {}
        self.forget()

    def forget(self) -> None:
        """Let go of what only its events need."""
        self.hashes: dict[int, tuple[str, frozenset[str]]] = {}  # of tasks, with secret outputs
        self.began: dict[int, float] = {}
        self.attempts: dict[int, int] = {}


class Folder:
    """Folds batches of any number of runs, each event once."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}
        self._versions = Versions()

    def next(self, run: str) -> int:
        """The number of the first event of a run that is not folded yet."""
        known = self._runs.get(run)
        return 0 if known is None else known.next

    @property
    def waits(self) -> bool:
        """True when events have come that others must come before."""
        return any(run.early for run in self._runs.values())

    def forget(self, run: str) -> None:
        """Fold this run from its start when it comes again."""
        self._runs.pop(run, None)

    def fold(self, batches: Sequence[Batch], changes: Changes | None = None) -> Changes:
        """Give the facts that follow from these batches, in any order, known ones among them."""
        changes = Changes() if changes is None else changes
        for batch in batches:
            run = self._runs.get(batch.run)
            if run is None:
                run = self._runs[batch.run] = _Run(batch.run)
            if batch.seq > run.next:
                run.early[batch.seq] = batch
                continue
            self._take(run, batch, changes)
            while run.early and (first := min(run.early)) <= run.next:
                self._take(run, run.early.pop(first), changes)
        return changes

    def _take(self, run: _Run, batch: Batch, changes: Changes) -> None:
        events = batch.events
        for event in events[run.next - batch.seq :] if run.next > batch.seq else events:
            work = _FOLDS.get(type(event))
            if work is not None:
                work(self, run, event, changes)
        run.next = max(run.next, batch.seq + len(events))

    # -- runs --------------------------------------------------------------------------------

    def _run_started(self, run: _Run, event: RunStarted, to: Changes) -> None:
        origin = run.origin = event.origin
        known = {k: origin[k] for k in ("host", "pid", "commit", "notebook") if origin.get(k)}
        told: dict[str, object] = {
            "run": run.id,
            "name": event.name,
            "form": event.form,
            "state": "running",
            "started": event.at,
            "Timestamp": _iso(event.at),
            **known,
        }
        if event.params:
            told["params"] = shown(event.params, frozenset(), PREVIEW)
        me = to.vertex(_run_id(run.id), "Run", told)
        if event.form == "pipeline":
            named = to.vertex(f"pipeline:{event.name}", "Pipeline", {"name": event.name})
            to.edge("of_pipeline", me, named)
        if origin.get("notebook"):
            to.edge("from_notebook", me, _notebook(origin["notebook"], to))
        if account(origin):
            to.edge("started", person(account(origin), to), me)
        to.edge("ran_in", me, _environment(origin, to))
        for label, other in (("started_by", event.parent), ("resumes", event.resumes)):
            if other:
                to.edge(label, me, to.vertex(_run_id(other), "Run", {"run": other}))

    def _run_finished(self, run: _Run, event: RunFinished, to: Changes) -> None:
        told: dict[str, object] = {"state": event.state, "finished": event.at}
        if event.error is not None:
            told |= _error(event.error)
        to.vertex(_run_id(run.id), "Run", told)
        run.forget()

    def _timed_out(self, run: _Run, event: RunTimedOut, to: Changes) -> None:
        to.vertex(_run_id(run.id), "Run", {"timed_out": event.seconds})

    def _body_done(self, run: _Run, event: BodyDone, to: Changes) -> None:
        if event.result:
            said = masked({"Output": cut(event.result, PREVIEW)}, frozenset())
            to.vertex(_run_id(run.id), "Run", said)

    def _body_erred(self, run: _Run, event: BodyErred, to: Changes) -> None:
        to.vertex(_run_id(run.id), "Run", _error(event.error))

    def _deed(self, run: _Run, event: Event, to: Changes) -> None:
        task = getattr(event, "task", None)
        target = _run_id(run.id) if task is None else _task_id(run, task)
        deed(event, run.origin, target, to)
        if isinstance(event, RunPaused | RunContinued):
            to.vertex(target, "Run", {"paused": isinstance(event, RunPaused)})

    # -- components --------------------------------------------------------------------------

    def _component_used(self, run: _Run, event: ComponentUsed, to: Changes) -> None:
        source = source_shown(event.source, SOURCE)
        told: dict[str, object] = {
            "name": event.name,
            "digest": event.digest,
            "language": event.language,
            "platform": event.platform,
            "version": event.version,
            "Source Code": source,
            "inputs": ", ".join(f"{name}: {kind}" for name, kind in event.inputs),
            "outputs": ", ".join(f"{name}: {kind}" for name, kind in event.outputs),
        }
        history = git_history(run.origin, event.cell, event.source)
        shared: dict[str, object] = {"Source Code": source, "Compute Platform": event.platform}
        shared |= {"Docker Image": event.image} if event.image else {}
        shared |= {"Git History": history} if history else {}
        if event.attributes:
            texts = {name: cut(text, PREVIEW) for name, text in event.attributes.items()}
            shared = masked(texts, frozenset()) | shared  # ours cannot be overwritten
        run.components[event.digest] = (shared, secret_ports((*event.inputs, *event.outputs)))
        me = to.vertex(f"component:{event.digest}", "Component", told)
        platform = to.vertex(f"platform:{event.platform}", "Platform", {"name": event.platform})
        to.edge("runs_on", me, platform)
        self._defined_in(me, run, event.cell, to)
        self._versions.used(event.name, event.digest, event.at, to)

    def _defined_in(self, me: str, run: _Run, cell: str, to: Changes) -> None:
        place = code_place(cell)
        if place.cell:
            notebook = run.origin.get("notebook", "")
            where = to.vertex(f"cell:{notebook}#{place.cell}", "Cell", {"name": place.cell})
            if notebook:
                to.edge("in_notebook", where, _notebook(notebook, to))
        elif place.path:
            where = to.vertex(f"file:{place.path}", "File", {"name": place.path})
        else:
            return
        line = {"line": place.line} if place.line else _NO_PROPERTIES
        to.edge("defined_in", me, where, properties=line)

    # -- tasks -------------------------------------------------------------------------------

    def _task_added(self, run: _Run, event: TaskAdded, to: Changes) -> None:
        shared, secret = run.components.get(event.component, (_NO_PROPERTIES, frozenset[str]()))
        me = f"task:{event.hash}"
        run.hashes[event.task] = (event.hash, secret)
        told: dict[str, object] = {
            **shared,
            "name": event.name,
            "Name": event.name,
            "Hash": event.hash,
            "Timestamp": _iso(event.at),
            "state": "waiting",
            "number": event.task,
            "run": run.id,
        }
        inputs = dict(event.inputs) if event.inputs else {}
        taken: dict[str, list[str]] = {}
        parents: dict[str, None] = {}
        known = [(run.hashes[n][0], out, port) for n, out, port in event.wires if n in run.hashes]
        for parent, output, input in (*known, *event.others):
            parents[parent] = None
            if input:
                taken.setdefault(input, []).append(f"← {parent}" + (f".{output}" if output else ""))
            _fed(me, parent, output, input, to)
        inputs |= {input: ", ".join(texts[:MANY]) for input, texts in taken.items()}
        if inputs:
            told["Input Values"] = shown(inputs, secret, PREVIEW)
        if parents:
            first = tuple(parents)[:MANY]
            told["Parent Hash"] = first[0] if len(first) == 1 else first
        if event.form != "call":
            told["form"] = event.form
        if event.index is not None:
            told["index"] = event.index
        to.vertex(me, "Task", told)
        to.edge("in_run", me, f"run:{run.id}")
        if event.component:
            to.edge("instance_of", me, f"component:{event.component}")
        if event.group is not None:
            to.edge("part_of", me, _task_id(run, event.group))

    def _task_started(self, run: _Run, event: TaskStarted, to: Changes) -> None:
        told: dict[str, object] = {"state": "running", "attempts": event.attempt}
        if event.task not in run.began:
            run.began[event.task] = told["started"] = event.at
        if event.worker:
            told["worker"] = event.worker
        to.vertex(_task_id(run, event.task), "Task", told)

    def _task_ticketed(self, run: _Run, event: TaskTicketed, to: Changes) -> None:
        to.vertex(_task_id(run, event.task), "Task", {"ticket": cut(event.ticket, PREVIEW)})

    def _task_held(self, run: _Run, event: TaskHeld, to: Changes) -> None:
        to.vertex(_task_id(run, event.task), "Task", {"state": "ready"})

    def _asked(self, run: _Run, event: Asked, to: Changes) -> None:
        told = {"question": cut(event.prompt, PREVIEW), "asks": event.wants}
        to.vertex(_task_id(run, event.task), "Task", told)

    def _map_expanded(self, run: _Run, event: MapExpanded, to: Changes) -> None:
        to.vertex(_task_id(run, event.task), "Task", {"count": event.count})

    def _task_done(self, run: _Run, event: TaskDone, to: Changes) -> None:
        me = self._ended(run, event.task, event.at, "succeeded", to)
        self._outputs(run, event, me, to)

    def _task_reused(self, run: _Run, event: TaskReused, to: Changes) -> None:
        me = self._ended(run, event.task, event.at, "reused", to)
        self._outputs(run, event, me, to)
        if event.hash:
            earlier = to.vertex(f"task:{event.hash}", "Task", {"Hash": event.hash})
            to.edge("reuses", me, earlier, properties={"age": event.age})

    def _outputs(self, run: _Run, event: TaskDone | TaskReused, me: str, to: Changes) -> None:
        told: dict[str, object] = {} if event.digest is None else {"digest": event.digest}
        secret = run.hashes[event.task][1] if event.task in run.hashes else frozenset[str]()
        texts = masked(event.outputs, secret) if event.outputs else {}
        if len(texts) == 1:
            told["Output"] = cut(next(iter(texts.values())), PREVIEW)
        elif texts:
            told["Output"] = shown(texts, secret, PREVIEW)
        if told:
            to.vertex(me, "Task", told)
        for port, blob in (event.kept or {}).items():
            about: dict[str, object] = {"digest": blob}
            if port in texts:
                about["preview"] = cut(texts[port], PREVIEW)
            value = to.vertex(f"value:{blob}", "Artifact", about)
            to.edge("produces", me, value, port, properties={"port": port})

    def _task_erred(self, run: _Run, event: TaskErred, to: Changes) -> None:
        again = "retrying" if event.retryable else "running" if event.fallback else ""
        if again:
            me = to.vertex(_task_id(run, event.task), "Task", {"state": again})
        else:
            me = self._ended(run, event.task, event.at, "failed", to)
        to.vertex(me, "Task", {"attempts": event.attempt, **_error(event.error)})

    def _task_cancelled(self, run: _Run, event: TaskCancelled, to: Changes) -> None:
        me = self._ended(run, event.task, event.at, "cancelled", to)
        if event.why:
            to.vertex(me, "Task", {"why": cut(event.why, PREVIEW)})

    def _task_skipped(self, run: _Run, event: TaskSkipped, to: Changes) -> None:
        me = self._ended(run, event.task, event.at, "skipped", to)
        if event.why:
            to.vertex(me, "Task", {"why": cut(event.why, PREVIEW)})
        else:
            to.edge("skipped_because_of", me, _task_id(run, event.because))

    def _ended(self, run: _Run, task: int, at: float, state: str, to: Changes) -> str:
        told: dict[str, object] = {"state": state, "finished": at}
        began = run.began.pop(task, None)
        if began is not None:
            told["seconds"] = at - began
        return to.vertex(_task_id(run, task), "Task", told)


_FOLDS: Mapping[type[Event], Callable[[Folder, _Run, Any, Changes], None]] = {
    RunStarted: Folder._run_started,
    RunFinished: Folder._run_finished,
    RunTimedOut: Folder._timed_out,
    BodyDone: Folder._body_done,
    BodyErred: Folder._body_erred,
    Asked: Folder._asked,
    TaskHeld: Folder._task_held,
    **dict.fromkeys(DEEDS, Folder._deed),
    ComponentUsed: Folder._component_used,
    TaskAdded: Folder._task_added,
    TaskStarted: Folder._task_started,
    TaskTicketed: Folder._task_ticketed,
    MapExpanded: Folder._map_expanded,
    TaskDone: Folder._task_done,
    TaskReused: Folder._task_reused,
    TaskErred: Folder._task_erred,
    TaskCancelled: Folder._task_cancelled,
    TaskSkipped: Folder._task_skipped,
}


def _run_id(run: str) -> str:
    return f"run:{run}"


def _task_id(run: _Run, number: int) -> str:
    known = run.hashes.get(number)
    # As the scheduler makes it; only for a record whose beginning is lost.
    return f"task:{known[0]}" if known is not None else f"task:{run.id}{number:08x}"


def _fed(me: str, parent: str, output: str, input: str, to: Changes) -> None:
    """Add the edge from what a task takes or waits for: a task, or a run as a whole."""
    whole = parent.removesuffix("-run")  # the result of another run
    label = ("gives" if whole != parent else "feeds") if input else "precedes"
    source = f"task:{parent}" if whole == parent else _run_id(whole)
    ports: dict[str, object] = {"input": input} if input else {}
    if output:
        ports["output"] = output
    more = (output, input) if input else ()
    to.edge(label, source, me, *more, properties=ports)


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _error(error: ErrorInfo) -> dict[str, object]:
    text = cut(f"{error.type}: {error.message}", PREVIEW)
    told: dict[str, object] = {"error": without_secrets(text), "error_type": error.type}
    if error.cell:
        told |= {"error_cell": error.cell, "error_line": error.line}
    return told


def _notebook(path: str, to: Changes) -> str:
    return to.vertex(f"notebook:{path}", "Notebook", {"name": path})


def _environment(origin: Mapping[str, str], to: Changes) -> str:
    told = {k: origin[k] for k in ("python", "version", "host", "packages") if origin.get(k)}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return to.vertex(f"environment:{digest[:16]}", "Environment", told)
