"use strict";
/* The graph in the page, and what follows from it: what is seen, found, and when. Pure. */

const OPEN = new Set(["waiting", "ready", "running", "retrying", "interrupted"]);
const OWN = ["type", "state", "platform"];

/** Give the graph of a widget's trait with what is near each node. */
function read(given) {
  const nodes = (given.nodes || []).map((node, place) => ({ ...node, place, links: [] }));
  const links = (given.links || []).map((link, place) => ({ ...link, place }));
  for (const link of links) {
    nodes[link.source].links.push(link);
    if (link.target !== link.source) nodes[link.target].links.push(link);
  }
  return { nodes, links, begin: given.begin || 0, span: given.span || 0 };
}

/** Give the values of a kind ("type", "state", "platform") with how many nodes have each. */
function counted(graph, kind) {
  const counts = new Map();
  for (const node of graph.nodes) {
    if (node[kind]) counts.set(node[kind], (counts.get(node[kind]) || 0) + 1);
  }
  return [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
}

/** Read a search: words that must all occur; `key:word` in that property; "several words". */
function terms(text, known) {
  const found = [];
  for (const [whole, key, quoted, plain] of text.matchAll(
    /(?:([^\s":]+):)?(?:"([^"]*)"?|([^\s"]+))/g,
  )) {
    const word = (quoted ?? plain).toLowerCase();
    const named = key && known.has(key.toLowerCase());
    if (named) found.push({ key: key.toLowerCase(), word });
    else found.push({ key: "", word: key ? whole.replaceAll('"', "").toLowerCase() : word });
  }
  return found;
}

function texts(node) {
  if (!node.texts) {
    const all = { ...node.about, id: node.id, type: node.type };
    for (const key of [...OWN, "name", "hash"]) all[key] = node[key] || all[key] || "";
    node.texts = Object.entries(all).map(([k, v]) => [k.toLowerCase(), String(v).toLowerCase()]);
  }
  return node.texts;
}

/** Give the names of all properties there are. */
function properties(graph) {
  const found = new Set();
  for (const node of graph.nodes) for (const key of Object.keys(node.about)) found.add(key);
  return [...found].sort();
}

/** True when every term occurs in a property of the node. */
function matches(node, wanted) {
  return wanted.every(({ key, word }) =>
    texts(node).some(([name, text]) => (!key || name === key) && text.includes(word)),
  );
}

/** True when no filter takes the node away; a node without a value of a kind has no part in it. */
function passes(node, hidden) {
  return OWN.every((kind) => !node[kind] || !(hidden[kind] || []).includes(node[kind]));
}

/** Give what is seen: `shown` and `hits` as sets of places. A hit brings its neighbours along. */
function seen(graph, hidden, search) {
  const shown = new Set(graph.nodes.filter((n) => passes(n, hidden)).map((n) => n.place));
  const known = new Set([...properties(graph), ...OWN, "name", "hash", "id"].map((k) => k.toLowerCase()));
  const wanted = terms(search.trim(), known);
  if (!wanted.length) return { shown, hits: new Set(), searched: false };
  const hits = new Set([...shown].filter((place) => matches(graph.nodes[place], wanted)));
  const kept = new Set(hits);
  for (const place of hits) {
    for (const link of graph.nodes[place].links) {
      for (const end of [link.source, link.target]) if (shown.has(end)) kept.add(end);
    }
  }
  return { shown: kept, hits, searched: true };
}

/** The state a node had at a time, in seconds after the graph's begin; "" before it was there. */
function stateAt(node, time) {
  const [there, started, finished] = node.times;
  if (there !== null && time < there) return "";
  if (finished !== null && time >= finished) return node.state;
  if (started !== null && time >= started) {
    return finished === null && !OPEN.has(node.state) ? node.state : "running";
  }
  if (!node.state) return "";
  // What neither started nor ended at a known time has been as it is all along.
  return started === null && finished === null ? node.state : "waiting";
}

/** True when a node was there at a time. */
function isThere(node, time) {
  return node.times[0] === null || time >= node.times[0];
}

module.exports = { counted, isThere, matches, passes, properties, read, seen, stateAt, terms };
