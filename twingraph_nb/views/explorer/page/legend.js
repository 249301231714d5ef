"use strict";
/* What the colours and shapes in the drawing stand for. */

const { make } = require("./dom.js");
const { icon } = require("./panel.js");
const { face, valueOf } = require("./faces.js");

const MOST = 9; // entries; the rest is counted

/** Give the entries for what is shown: a face, its word and how many there are. */
function entries(nodes, choice) {
  const { by, colours, measures, looks } = choice;
  const found = new Map();
  for (const node of nodes) {
    const value = valueOf(node, by, measures);
    const colour = colours.get(value);
    const key = value && by !== "status" && !colour?.own ? "others" : value || node.type;
    if (!found.has(key)) found.set(key, { count: 0, face: face(node, choice), key, plain: !value });
    const entry = found.get(key);
    entry.count++;
    if (value && by !== "status" && by !== "type") {
      entry.face = { ...entry.face, form: "round-rectangle", icon: null, dashed: false };
    }
  }
  const word = (entry) => (by === "status" && looks.states[entry.key]?.word) || entry.key;
  return [...found.values()]
    .sort((a, b) => a.plain - b.plain || (a.key === "others") - (b.key === "others") || b.count - a.count)
    .map((entry) => ({ ...entry, word: word(entry) }));
}

/** Fill the legend. */
function fill(home, nodes, choice) {
  const all = entries(nodes, choice);
  const rest = all.length - MOST;
  home.replaceChildren(
    ...all.slice(0, MOST).map((entry) =>
      make(
        "li",
        {},
        icon(entry.face, 16),
        make("span", {}, entry.word),
        make("small", {}, String(entry.count)),
      ),
    ),
    ...(rest > 0 ? [make("li", {}, make("small", {}, `and ${rest} more`))] : []),
  );
}

module.exports = { entries, fill };
