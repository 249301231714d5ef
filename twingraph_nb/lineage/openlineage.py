"""OpenLineage: the runs and tasks of the graph as RunEvents.

A run is a job of its pipeline's name, a task one of ``PIPELINE.COMPONENT`` with the run as its
parent; a value that is kept is a dataset, named by its digest. Run ids are UUIDs made from ours,
so that the same run has the same id in every export.
Source: OpenLineage specification 2-0-2 (openlineage.io).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

from twingraph_nb.lineage.elements import Vertex
from twingraph_nb.lineage.graph import Graph

__all__ = ["NAMESPACE", "dumps", "events"]

Json = dict[str, object]

NAMESPACE = "twingraph"
_SPEC = "https://openlineage.io/spec/"
_SCHEMA = _SPEC + "2-0-2/OpenLineage.json#/$defs/RunEvent"
_PRODUCER = "urn:twingraph-nb"
_ENDS = {
    "succeeded": "COMPLETE", "reused": "COMPLETE", "failed": "FAIL", "cancelled": "ABORT",
    "skipped": "ABORT", "interrupted": "ABORT",
}  # fmt: skip


def dumps(graph: Graph, run: str | None = None) -> str:
    """Give the events as text, one JSON object a line."""
    return "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events(graph, run))


def events(graph: Graph, run: str | None = None) -> list[Json]:
    """Give the RunEvents of all runs, or of one, in the order of their times."""
    with graph.lock:
        runs = [v for v in graph.labelled("Run") if "name" in v.content]
        if run is not None:
            runs = [graph.vertex(f"run:{run}")]
        found = [event for vertex in runs for event in _of_run(vertex)]
    return sorted(found, key=lambda event: str(event["eventTime"]))


def _of_run(run: Vertex) -> Iterator[Json]:
    yield from _transitions(run, str(run.value("name")), {}, {}, [], [])
    for task in run.neighbours("in", "in_run"):
        name = f"{run.value('name')}.{task.value('name')}"
        parent = {"run": {"runId": _uuid(run)}, "job": _job(str(run.value("name")))}
        facets: Json = {"parent": _facet("1-2-0/ParentRunFacet", parent)}
        about: Json = {}
        source = task.value("Source Code")
        if source:
            languages = [c.value("language") for c in task.neighbours("out", "instance_of")]
            told = {"language": str(next(iter(languages), "python")), "sourceCode": source}
            about["sourceCode"] = _facet("1-0-1/SourceCodeJobFacet", told)
        yield from _transitions(task, name, facets, about, _inputs(task), _outputs(task))


def _transitions(
    vertex: Vertex, name: str, facets: Json, about: Json, inputs: list[Json], outputs: list[Json]
) -> Iterator[Json]:
    state = str(vertex.value("state"))
    started = vertex.value("started", vertex.value("finished"))
    if not isinstance(started, int | float):
        return  # it has not begun
    job = _job(name) | ({"facets": about} if about else {})

    def event(kind: str, at: object, more: Json, made: list[Json]) -> Json:
        run: Json = {"runId": _uuid(vertex)}
        if facets or more:
            run["facets"] = facets | more
        return {
            "eventType": kind,
            "eventTime": _iso(at),
            "run": run,
            "job": job,
            "inputs": inputs,
            "outputs": made,
            "producer": _PRODUCER,
            "schemaURL": _SCHEMA,
        }

    yield event("START", started, {}, [])
    kind = _ENDS.get(state)
    if kind is None:
        return
    failed: Json = {}
    if "error" in vertex.content:
        told = {"message": vertex.value("error"), "programmingLanguage": "python"}
        failed["errorMessage"] = _facet("1-0-1/ErrorMessageRunFacet", told)
    yield event(kind, vertex.value("finished", started), failed, outputs)


def _inputs(task: Vertex) -> list[Json]:
    found = {}
    for edge in task.edges("in", "feeds"):
        output = edge.content.get("output")
        for made in edge.out.edges("out", "produces"):
            if not output or output == made.content.get("port"):
                found[made.in_.id] = _dataset(made.in_)
    return list(found.values())


def _outputs(task: Vertex) -> list[Json]:
    return [_dataset(value) for value in task.neighbours("out", "produces")]


def _dataset(value: Vertex) -> Json:
    return {"namespace": NAMESPACE, "name": str(value.value("digest"))}


def _job(name: str) -> Json:
    return {"namespace": NAMESPACE, "name": name}


def _facet(schema: str, content: Json) -> Json:
    name = schema.partition("/")[2]
    url = f"{_SPEC}facets/{schema}.json#/$defs/{name}"
    return {"_producer": _PRODUCER, "_schemaURL": url, **content}


def _uuid(vertex: Vertex) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:twingraph:{vertex.id}"))


def _iso(at: object) -> str:
    seconds = float(at) if isinstance(at, int | float) else 0.0
    return datetime.fromtimestamp(seconds, UTC).isoformat()
