"use strict";
/* What each node looks like: colour, shape, icon, size and label, by what was chosen. Pure. */

const PLAIN = { fill: "#d5d8dc", ink: "#24292f", border: "#787d85" };
const SMALL = 24;
const LARGE = 64;
const LONGEST = 26; // characters of a label

/** Give the value that a node is coloured by, "" if it has none. */
function valueOf(node, by, measures) {
  if (by === "status") return node.now ?? node.state;
  if (by === "community") {
    const at = measures.community?.get(node.place);
    return at === undefined ? "" : `community ${at + 1}`;
  }
  return node[by];
}

/** Give the colour of each value: the most frequent ones first, all later ones share a grey. */
function palette(nodes, by, measures, looks) {
  const counts = new Map();
  for (const node of nodes) {
    const value = valueOf(node, by, measures);
    if (value) counts.set(value, (counts.get(value) || 0) + 1);
  }
  const named = (a, b) => a.localeCompare(b, "en", { numeric: true });
  const order = [...counts].sort((a, b) => b[1] - a[1] || named(a[0], b[0]));
  return new Map(order.map(([value, count], at) => [value, { ...colour(looks, at), count }]));
}

function colour(looks, at) {
  const known = looks.colours[at];
  return known ? { fill: known[0], ink: known[1], border: known[2], own: true } : { ...PLAIN };
}

/** Give the face of a node: `form` and `fill` say what it is, `icon` always its state. */
function face(node, { by, colours, measures, looks }) {
  const state = node.now ?? node.state;
  const look = state ? looks.states[state] || looks.states.waiting : null;
  const form = node.type === "Task" && look ? look.shape : looks.shapes[node.type] || "ellipse";
  const paint =
    by === "status" ? look && { fill: look.fill, ink: look.text, border: look.border }
    : colours.get(valueOf(node, by, measures));
  const { fill, ink, border } = paint || PLAIN;
  const icon = look ? { state, path: look.path, solid: look.solid } : null;
  return { form, fill, ink, border, icon, dashed: Boolean(look?.dashed) };
}

/** Give the size of each node in pixels, by its share of the largest value. */
function sizes(nodes, by, measures) {
  if (by === "same") return new Map();
  const value = (node) =>
    by === "degree" ? node.degree || 0 : (measures.rank?.get(node.place) ?? 0);
  const most = Math.max(1e-12, ...nodes.map(value));
  return new Map(
    nodes.map((node) => [node.place, SMALL + (LARGE - SMALL) * Math.sqrt(value(node) / most)]),
  );
}

/** Give the label of a node: its name, the start of its hash, nothing, or a property. */
function label(node, by) {
  if (by === "none") return "";
  if (by === "hash") return node.hash ? node.hash.slice(0, 8) : "";
  const text = by === "name" ? node.name : (node.about[by] ?? "");
  const line = text.replace(/\s+/g, " ").trim();
  const letters = [...line];
  return letters.length > LONGEST ? `${letters.slice(0, LONGEST - 1).join("")}…` : line;
}

module.exports = { face, label, palette, sizes, valueOf };
