"use strict";
/* Beside the drawing: what is known of a node, and the numbers of the graph. */

const { button, draw, make } = require("./dom.js");
const { duration } = require("./replay.js");
const { drawn } = require("./shapes.js");

const MOST = 12; // neighbours that are named
const BLOCK = 60; // characters from which a value gets lines of its own

/* What people look for first; the rest follows as the graph has it. */
const FIRST = ["error", "Output", "Input Values", "Timestamp", "started", "finished", "seconds"];
const TIMES = new Set(["started", "finished", "first_seen"]);

const NUMBERS = [
  ["nodes", "Nodes", "what is shown now"],
  ["edges", "Edges", "between them; parallel ones count each"],
  ["degree", "Degree", "edges at a node: on average, and the most"],
  ["density", "Density", "share of all possible edges that are there, 0 to 1"],
  ["clustering", "Clustering", "how often two neighbours of a node are neighbours, 0 to 1"],
  ["diameter", "Diameter", "steps between the two nodes farthest apart, in the largest part"],
  ["parts", "Parts", "pieces that hang together, whatever the direction"],
  ["communities", "Communities", "groups with many edges inside and few between them"],
  ["modularity", "Modularity", "how clearly the communities are apart, up to 1"],
];

/** An icon of a node's face, for text beside it. */
function icon(face, size = 18) {
  const box = { width: size, height: size, viewBox: `0 0 ${size} ${size}`, "aria-hidden": "true" };
  return draw("svg", box, drawn(face, size / 2, size / 2, size - 3, face.ink));
}

/** The properties of a node and who stands beside it. `go(place)` moves there. */
function properties(node, graph, faces, { go, close }) {
  const known = FIRST.filter((name) => name in node.about);
  const names = [...known, ...Object.keys(node.about).filter((name) => !known.includes(name))];
  const rows = names.flatMap((name) => {
    const value = readable(name, node.about[name]);
    const long = value.length > BLOCK || value.includes("\n");
    return [make("dt", {}, name), make("dd", {}, long ? make("pre", {}, value) : value)];
  });
  return make(
    "section",
    { class: "tg-x-about", "aria-label": "Properties" },
    make(
      "header",
      {},
      icon(faces.get(node.place)),
      make("h3", {}, node.name),
      button("×", "Close (Escape)", close),
    ),
    make("p", { class: "tg-x-soft" }, [node.type, node.now ?? node.state, node.platform].filter(Boolean).join(" · ")),
    make("dl", {}, rows),
    beside(node, graph, faces, go),
    make("p", { class: "tg-x-soft tg-x-id" }, node.id),
  );
}

/** Seconds as people say them: since the epoch or as a span; other texts as they are. */
function readable(name, text) {
  if (name === "Timestamp" && !Number.isNaN(Date.parse(text))) return new Date(text).toLocaleString();
  const seconds = Number(text);
  if (!text || Number.isNaN(seconds)) return text;
  if (name === "seconds") return duration(seconds);
  return TIMES.has(name) ? new Date(seconds * 1000).toLocaleString() : text;
}

function beside(node, graph, faces, go) {
  const groups = new Map();
  for (const link of node.links) {
    const out = link.source === node.place;
    const title = out ? `${link.type} →` : `← ${link.type}`;
    if (!groups.has(title)) groups.set(title, []);
    groups.get(title).push([out ? link.target : link.source, link.name]);
  }
  return [...groups].map(([title, ends]) =>
    make(
      "div",
      { class: "tg-x-beside" },
      make("h4", {}, title),
      ends.slice(0, MOST).map(([place, port]) => {
        const other = graph.nodes[place];
        const link = button("", `Go to ${other.type} ${other.name}`, () => go(place));
        link.append(icon(faces.get(place), 15), make("span", {}, other.name));
        if (port) link.append(make("small", {}, port));
        return link;
      }),
      ends.length > MOST ? make("p", { class: "tg-x-soft" }, `and ${ends.length - MOST} more`) : null,
    ),
  );
}

/** The numbers of what is shown; `measures` may still be on their way. */
function statistics(measures, { waiting, alone }) {
  const known = measures.statistics;
  const note = measures.problem || (waiting ? (alone ? NO_KERNEL : "the kernel is counting …") : "");
  return make(
    "section",
    { class: "tg-x-numbers", "aria-label": "Statistics" },
    make("header", {}, make("h3", {}, "Statistics")),
    note ? make("p", { class: "tg-x-soft" }, note) : null,
    known
      ? make(
          "dl",
          { class: waiting ? "tg-x-old" : "" },
          NUMBERS.flatMap(([key, name, meaning]) => [
            make("dt", { title: meaning }, name),
            make("dd", { title: meaning, "data-number": key }, said(key, known)),
          ]),
        )
      : null,
  );
}

const NO_KERNEL = "counting needs a kernel: run the cell again";

function said(key, known) {
  const short = (value) =>
    Number.isInteger(value) ? String(value) : Math.abs(value) < 0.001 && value ? value.toExponential(1) : value.toFixed(3);
  if (key === "degree") return `${known.degree.toFixed(2)}, at most ${known.most}`;
  return short(known[key]);
}

module.exports = { icon, properties, statistics };
