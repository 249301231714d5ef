"""W3C PROV: the graph of executions as a PROV-JSON document.

| here | PROV |
|---|---|
| Task, Run | activity; a task `wasStartedBy` its run |
| Artifact | entity: `wasGeneratedBy` the task that produces it, `used` by those that it feeds |
| Component | entity and `prov:Plan`; a new version `wasDerivedFrom` the one before (a revision) |
| Person, Platform | agents: runs and tasks are associated with who ran them, stopped or answered |
| feeds, gives, precedes, reuses | `wasInformedBy` |

Source: The PROV-JSON Serialization, W3C Member Submission, 24 April 2013.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from urllib.parse import quote

from twingraph_nb.lineage.elements import Vertex
from twingraph_nb.lineage.excerpt import PEOPLE
from twingraph_nb.lineage.graph import Graph

__all__ = ["document", "dumps"]

Json = dict[str, object]

_SPACE = "urn:twingraph:"
_KINDS = {
    "Task": "activity", "Run": "activity", "Artifact": "entity", "Component": "entity",
    "Person": "agent", "Platform": "agent",
}  # fmt: skip
_TYPES = {
    "Component": "prov:Plan", "Person": "prov:Person", "Platform": "prov:SoftwareAgent",
    "Task": "tg:Task", "Run": "tg:Run", "Artifact": "tg:Artifact",
}  # fmt: skip
_TIMES = {"started": "prov:startTime", "finished": "prov:endTime"}


def dumps(graph: Graph, run: str | None = None) -> str:
    """Give the document as JSON text; see `document`."""
    return json.dumps(document(graph, run), ensure_ascii=False, indent=1) + "\n"


def document(graph: Graph, run: str | None = None) -> dict[str, dict[str, object]]:
    """Give a PROV-JSON document of the graph, or of one run and what it touches.

    Returns:
        prefix, entity, activity, agent, and the relations by their PROV names; each maps a
        qualified name to its attributes.
    """
    with graph.lock:
        vertices = _chosen(graph, run)
        made: dict[str, dict[str, object]] = {"prefix": {"tg": _SPACE}}
        for vertex in vertices.values():
            kind = _KINDS.get(vertex.label)
            if kind is not None:
                made.setdefault(kind, {})[_name(vertex)] = _attributes(vertex)
        count = 0
        for vertex in vertices.values():
            for relation, attributes in _relations(vertex, vertices):
                made.setdefault(relation, {})[f"_:r{count}"] = attributes
                count += 1
    return made


def _chosen(graph: Graph, run: str | None) -> dict[object, Vertex]:
    if run is None:
        return dict(graph.vertices)
    me = graph.vertex(f"run:{run}")
    found = {me.id: me}
    near = [*me.neighbours("in", "in_run", *PEOPLE)]
    for task in list(near):
        near += task.neighbours("out", "produces", "instance_of", "reuses")
        near += task.neighbours("in", "feeds", "precedes", "gives", *PEOPLE)
    near += [p for vertex in near for p in vertex.neighbours("out", "runs_on")]
    return found | {vertex.id: vertex for vertex in near}


def _name(vertex: Vertex) -> str:
    return "tg:" + quote(str(vertex.id).replace(":", ".", 1), safe="._-")


def _attributes(vertex: Vertex) -> Json:
    told: Json = {"prov:type": {"$": _TYPES[vertex.label], "type": "prov:QUALIFIED_NAME"}}
    label = vertex.value("name") or vertex.value("preview")
    if label:
        told["prov:label"] = str(label)
    for key in list(vertex.content):
        values = [_plain(value) for value in vertex.values(key)]
        if key in _TIMES and vertex.label in ("Task", "Run"):
            told[_TIMES[key]] = _iso(vertex.value(key))
        elif values:
            told["tg:" + quote(key, safe="._-")] = values[0] if len(values) == 1 else values
    return told


def _plain(value: object) -> object:
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return {"$": repr(value), "type": "xsd:double"}
    return str(value)


def _iso(at: object) -> str:
    return datetime.fromtimestamp(float(at), UTC).isoformat() if isinstance(at, int | float) else ""


def _relations(vertex: Vertex, known: Mapping[object, Vertex]) -> Iterator[tuple[str, Json]]:
    """The relations of a vertex to others that are known."""
    me = _name(vertex)

    def ends(label: str) -> Iterator[tuple[Vertex, Mapping[str, object]]]:
        for edge in vertex.edges("out", label):
            if edge.in_.id in known:
                yield edge.in_, edge.content

    if vertex.label == "Task":
        yield from _of_task(vertex, me, known)
    for older, _ in ends("new_version_of"):
        revision = {"$": "prov:Revision", "type": "prov:QUALIFIED_NAME"}
        yield (
            "wasDerivedFrom",
            {
                "prov:generatedEntity": me,
                "prov:usedEntity": _name(older),
                "prov:type": revision,
            },
        )
    for activity in {v.id: v for label in PEOPLE for v, _ in ends(label)}.values():
        yield "wasAssociatedWith", {"prov:activity": _name(activity), "prov:agent": me}
    for earlier in ("started_by", "resumes"):
        for run, _ in ends(earlier):
            yield "wasInformedBy", _informed(me, run, earlier)


def _of_task(task: Vertex, me: str, known: Mapping[object, Vertex]) -> Iterator[tuple[str, Json]]:
    for run in task.neighbours("out", "in_run"):
        if run.id in known:
            yield "wasStartedBy", {"prov:activity": me, "prov:starter": _name(run)}
    for component in task.neighbours("out", "instance_of"):
        for platform in component.neighbours("out", "runs_on"):
            if component.id in known and platform.id in known:
                yield (
                    "wasAssociatedWith",
                    {
                        "prov:activity": me,
                        "prov:agent": _name(platform),
                        "prov:plan": _name(component),
                    },
                )
    for edge in task.edges("out", "produces"):
        told: Json = {"prov:entity": _name(edge.in_), "prov:activity": me}
        finished = _iso(task.value("finished"))
        yield "wasGeneratedBy", told | ({"prov:time": finished} if finished else {})
    for earlier in task.neighbours("out", "reuses"):
        if earlier.id in known:
            yield "wasInformedBy", _informed(me, earlier, "reuses")
    for edge in task.edges("in", "feeds", "precedes", "gives"):
        if edge.out.id in known:
            yield "wasInformedBy", _informed(me, edge.out, edge.label)
        for made in edge.out.edges("out", "produces") if edge.label == "feeds" else ():
            if made.in_.id in known and _same_port(edge.content.get("output"), made.content):
                yield "used", {"prov:activity": me, "prov:entity": _name(made.in_)}


def _same_port(output: object, made: Mapping[str, object]) -> bool:
    """Whether an edge of data carries this value; one without a name carries the whole."""
    return not output or output == made.get("port")


def _informed(me: str, other: Vertex, how: str) -> Json:
    return {
        "prov:informed": me,
        "prov:informant": _name(other),
        "prov:type": {"$": f"tg:{how}", "type": "prov:QUALIFIED_NAME"},
    }
