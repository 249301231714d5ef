"""What the graph of executions holds: the one table of vertices, edges and properties.

The documentation shows `described()`, so that it cannot say anything else.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "EDGES",
    "EDGE_PROPERTIES",
    "MANY",
    "OTHER_PROPERTIES",
    "PREVIEW",
    "SOURCE",
    "TASK_PROPERTIES",
    "VERTICES",
    "EdgeKind",
    "described",
    "edge_id",
    "label_of",
]

PREVIEW = 1_000
"""Most characters of a value's text; larger values are in the store, under their digest."""
SOURCE = 20_000
"""Most characters of source code."""
MANY = 100
"""Most values of a property that has several; the edges have them all."""


@dataclass(frozen=True, slots=True)
class EdgeKind:
    """A label of edges: where they leave, where they enter, and what they say."""

    label: str
    out: str
    in_: str
    meaning: str


VERTICES = {
    "Pipeline": "a pipeline, by its name (`pipeline:NAME`)",
    "Run": "one execution of a pipeline, or the loose calls of a session (`run:ID`)",
    "Component": "a component as it was: one vertex for each digest (`component:DIGEST`)",
    "Task": "one call in a run, from the moment it is made (`task:HASH`)",
    "Artifact": "a value that is kept in the store, by the digest of its content (`value:DIGEST`)",
    "Notebook": "a notebook, by its path (`notebook:PATH`)",
    "Cell": "a cell that defines components (`cell:NOTEBOOK#[N]`)",
    "File": "a file of Python that defines components (`file:PATH`)",
    "Platform": "where tasks run (`platform:NAME`)",
    "Environment": "Python, packages and machine of a run (`environment:DIGEST`)",
    "Person": "who started, stopped or answered something (`person:USER@MACHINE`)",
}
"""Label of a vertex -> what it is, and its id."""

_KINDS = (
    EdgeKind("of_pipeline", "Run", "Pipeline", "the run is an execution of the pipeline"),
    EdgeKind("started_by", "Run", "Run", "the run was started from within the other"),
    EdgeKind("resumes", "Run", "Run", "the run takes over what the earlier one finished"),
    EdgeKind("ran_in", "Run", "Environment", "its process had this Python and these packages"),
    EdgeKind("from_notebook", "Run", "Notebook", "the notebook that started it"),
    EdgeKind("in_run", "Task", "Run", "the task belongs to the run"),
    EdgeKind("instance_of", "Task", "Component", "the task is a call of the component"),
    EdgeKind("part_of", "Task", "Task", "it is an item of a map, or inside a nested pipeline"),
    EdgeKind("feeds", "Task", "Task", "its output (`output`) goes to that one's input (`input`)"),
    EdgeKind("gives", "Run", "Task", "the result of the whole run goes to the task's `input`"),
    EdgeKind("precedes", "Task", "Task", "that one waits for it, and takes no value"),
    EdgeKind("produces", "Task", "Artifact", "its output `port` has this value"),
    EdgeKind("reuses", "Task", "Task", "the equal task that had been done before"),
    EdgeKind("skipped_because_of", "Task", "Task", "it did not run, for that one did not succeed"),
    EdgeKind("runs_on", "Component", "Platform", "where its tasks run"),
    EdgeKind("defined_in", "Component", "Cell or File", "where its source is"),
    EdgeKind("new_version_of", "Component", "Component", "the version of that name before it"),
    EdgeKind("in_notebook", "Cell", "Notebook", "the notebook of the cell"),
    EdgeKind("started", "Person", "Run", "whose account it ran under"),
    EdgeKind("asked_to_cancel", "Person", "Run or Task", "who wanted it to stop, and `why`"),
    EdgeKind("asked_to_retry", "Person", "Task", "who wanted another attempt at once"),
    EdgeKind("paused", "Person", "Run", "who let no further task of it begin"),
    EdgeKind("continued", "Person", "Run", "who let it go on"),
    EdgeKind("changed_limit", "Person", "Run", "who changed how many tasks run at once: `limit`"),
    EdgeKind("answered", "Person", "Task", "who answered its question, and the answer: `text`"),
)
EDGES = {kind.label: kind for kind in _KINDS}

TASK_PROPERTIES = {
    "Name": "name of the component (also `name`)",
    "Timestamp": "when it was called, ISO 8601 in UTC",
    "Hash": "id of this execution",
    "Parent Hash": f"hashes of the tasks it waits for; several values, at most {MANY}",
    "Input Values": f"JSON object of the inputs' texts, at most {PREVIEW} characters",
    "Output": f"text of the value; of several outputs a JSON object, at most {PREVIEW} characters",
    "Source Code": f"of the component, at most {SOURCE} characters, secrets masked",
    "Compute Platform": "where it ran: local, process, docker ...",
    "Docker Image": "the image, on platforms that have one",
    "Git History": "commit, file and lines of the source, where it lies in a repository",
    "state": "waiting, ready, running, retrying, succeeded, reused, failed, skipped, cancelled, "
    "or interrupted: its process is gone",
    "started": "when its first attempt began, seconds since the epoch",
    "finished": "when it ended, seconds since the epoch",
    "seconds": "from start to end",
    "attempts": "how many there were",
    "error": "type and message of the latest error",
    "number": "its place in the run, from 0",
    "run": "id of the run",
    "digest": "equal work has an equal digest",
    "worker": "who ran it, where the platform says so",
    "ticket": "what its platform calls the job",
    "error_type": "class of that error",
    "error_cell": "cell or file of the line that raised it",
    "error_line": "number of that line",
    "why": "why it was cancelled or left out",
    "question": "what it asks people",
    "asks": "which kind of answer it wants",
    "form": "map, or pipeline for a nested one; calls have none",
    "index": "its place among the items of a map",
    "count": "how many items the map has",
}
"""Property of a task -> meaning. Attributes that users give stand beside them."""

OTHER_PROPERTIES = {
    "Run": {
        "run": "its id",
        "name": "of the pipeline; that of loose calls is the session's",
        "form": "pipeline, or session for loose calls",
        "state": "running, succeeded, failed, cancelled, or interrupted",
        "Timestamp": "when it began, ISO 8601 in UTC",
        "started": "the same, seconds since the epoch",
        "finished": "when it ended, seconds since the epoch",
        "params": "JSON object of its parameters",
        "Output": "text of its result",
        "error": "what ended it: type and message; `error_type` and more as of a task",
        "notebook": "the notebook that started it",
        "commit": "of the repository it was started in",
        "host": "the machine",
        "pid": "its process there",
        "timed_out": "seconds that it was allowed, and that were not enough",
        "paused": "whether it is kept from beginning tasks",
    },
    "Component": {
        "name": "its name; versions share it",
        "digest": "of this version",
        "Source Code": "as of a task",
        "language": "python, javascript ...",
        "platform": "where its tasks run",
        "version": "that its author gave it",
        "inputs": "names and types",
        "outputs": "names and types",
        "first_used": "when this version was first called, seconds since the epoch",
    },
    "Artifact": {
        "digest": "of its content",
        "preview": f"its text, at most {PREVIEW} characters",
    },
    "Environment": {
        "python": "version of Python",
        "version": "of twingraph-nb",
        "packages": "the packages that count, with their versions",
        "host": "the machine",
    },
}
"""Label -> property -> meaning. The vertices of other labels have a `name` only."""

EDGE_PROPERTIES = {
    "input": "feeds, gives: the port that takes the value",
    "output": "feeds: the port that gives it, where there are several",
    "port": "produces: the output that has this value",
    "age": "reuses: seconds since it had been done",
    "line": "defined_in: where the source begins",
    "at": "what people did: when, seconds since the epoch",
    "why": "asked_to_cancel: the reason",
    "text": "answered: the answer",
    "limit": "changed_limit: the number; `name` is whose",
}
"""Property of an edge -> the edges that have it, and its meaning."""


_LABELS = {
    "run": "Run", "task": "Task", "component": "Component", "value": "Artifact", "cell": "Cell",
    "notebook": "Notebook", "file": "File", "platform": "Platform", "person": "Person",
    "pipeline": "Pipeline", "environment": "Environment",
}  # fmt: skip


def label_of(id: str) -> str:
    """The label of the vertex with this id: what stands before the colon says it."""
    return _LABELS.get(id.partition(":")[0], "vertex")


def edge_id(label: str, out: str, in_: str, *more: str) -> str:
    """The id of an edge: the same fact has the same id, whoever writes it, however often."""
    return "|".join((out, label, in_, *more))


def described() -> str:
    """The schema as Markdown, for the documentation."""
    lines = ["| vertex | what it is |", "|---|---|"]
    lines += [f"| `{label}` | {what} |" for label, what in VERTICES.items()]
    lines += ["", "| edge | from | to | meaning |", "|---|---|---|---|"]
    lines += [f"| `{e.label}` | {e.out} | {e.in_} | {e.meaning} |" for e in EDGES.values()]
    lines += ["", "| property of a task | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {what} |" for name, what in TASK_PROPERTIES.items()]
    for label, properties in OTHER_PROPERTIES.items():
        lines += ["", f"| property of {label} | meaning |", "|---|---|"]
        lines += [f"| `{name}` | {what} |" for name, what in properties.items()]
    lines += ["", "| property of an edge | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {what} |" for name, what in EDGE_PROPERTIES.items()]
    return "\n".join(lines) + "\n"
