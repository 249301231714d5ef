"use strict";
/* What is seen as a file for the browser: PNG, SVG, JSON, GraphML. Text becomes text by the DOM. */

const { draw, make } = require("./dom.js");
const { drawn } = require("./shapes.js");

const MARGIN = 24;
const PIXELS = 8000; // largest side of a PNG; browsers refuse canvases not far above
/* Characters that XML 1.0 cannot hold in any way. */
const ILLEGAL = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu;

const FORMATS = {
  png: { name: "PNG", type: "image/png", write: png },
  svg: { name: "SVG", type: "image/svg+xml", write: svg },
  json: { name: "JSON", type: "application/json", write: json },
  graphml: { name: "GraphML", type: "application/xml", write: graphml },
};

/** Hand a file to the browser. `scene`: {canvas, graph, faces, shown, statistics}. */
async function save(format, scene) {
  const { type, write } = FORMATS[format];
  const text = await write(scene);
  const blob = text instanceof Blob ? text : new Blob([text], { type });
  const address = URL.createObjectURL(blob);
  const link = make("a", { href: address, download: `graph.${format}` });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

async function png({ canvas }) {
  const { cy, colours } = canvas;
  const box = cy.elements(":visible").boundingBox();
  const scale = Math.min(2, PIXELS / (Math.max(box.w, box.h) + 2 * MARGIN));
  const seen = cy.png({ output: "blob", full: true, scale, bg: colours.back }); // to its very edge
  const image = await createImageBitmap(seen);
  const edge = Math.round(MARGIN * scale);
  const size = { width: image.width + 2 * edge, height: image.height + 2 * edge };
  const sheet = make("canvas", size);
  const pen = sheet.getContext("2d");
  pen.fillStyle = colours.back;
  pen.fillRect(0, 0, size.width, size.height);
  pen.drawImage(image, edge, edge);
  return new Promise((done) => sheet.toBlob(done, "image/png"));
}

function svg({ canvas, graph, faces, shown }) {
  const { cy, colours, nodes } = canvas;
  const box = cy.elements(":visible").boundingBox();
  const [x, y] = [box.x1 - MARGIN, box.y1 - MARGIN];
  const [width, height] = [box.w + 2 * MARGIN, box.h + 2 * MARGIN].map(Math.ceil);
  const root = draw("svg", {
    xmlns: "http://www.w3.org/2000/svg",
    width,
    height,
    viewBox: `${x} ${y} ${width} ${height}`,
    "font-family": "system-ui, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif",
  });
  root.append(draw("rect", { x, y, width, height, fill: colours.back }));
  const head = draw("path", { d: "M0 0L10 5L0 10z", fill: colours.line });
  const marker = { id: "a", viewBox: "0 0 10 10", refX: 9, refY: 5, markerWidth: 6 };
  root.append(draw("defs", {}, draw("marker", { ...marker, markerHeight: 6, orient: "auto" }, head)));
  for (const link of graph.links) {
    if (shown.has(link.source) && shown.has(link.target)) root.append(arrow(canvas, link));
  }
  for (const place of shown) {
    const { x: left, y: top } = nodes[place].position();
    const { size, label } = nodes[place].data();
    const node = graph.nodes[place];
    const group = draw("g", {}, draw("title", {}, clean(`${node.type} ${node.name}`)));
    group.append(...drawn(faces.get(place), left, top, size, faces.get(place).ink));
    if (label) {
      const at = { x: left, y: top + size / 2 + 14, "text-anchor": "middle", "font-size": 11 };
      group.append(draw("text", { ...at, fill: colours.text }, clean(label)));
    }
    root.append(group);
  }
  return new XMLSerializer().serializeToString(root);
}

function arrow({ nodes, links, colours }, link) {
  const [from, to] = [nodes[link.source], nodes[link.target]].map((node) => node.position());
  const far = Math.hypot(to.x - from.x, to.y - from.y) || 1;
  const cut = nodes[link.target].data("size") / 2 + 2;
  const end = { x: to.x - ((to.x - from.x) * cut) / far, y: to.y - ((to.y - from.y) * cut) / far };
  const { dash, label } = links[link.place].data();
  const line = draw("path", {
    d: `M${from.x.toFixed(1)} ${from.y.toFixed(1)}L${end.x.toFixed(1)} ${end.y.toFixed(1)}`,
    fill: "none",
    stroke: colours.line,
    "stroke-width": 1.3,
    "stroke-dasharray": { dashed: "6 3", dotted: "2 3" }[dash],
    "marker-end": "url(#a)",
  });
  const group = draw("g", {}, draw("title", {}, clean(`${link.type} ${link.name}`)), line);
  if (label) {
    const [x, y] = [(from.x + to.x) / 2, (from.y + to.y) / 2];
    const along = (Math.atan2(to.y - from.y, to.x - from.x) * 180) / Math.PI;
    const upright = along > 90 ? along - 180 : along <= -90 ? along + 180 : along;
    const transform = `translate(${x.toFixed(1)} ${y.toFixed(1)}) rotate(${upright.toFixed(1)})`;
    const given = { transform, y: -4, "font-size": 9, "text-anchor": "middle", fill: colours.soft };
    group.append(draw("text", given, clean(label)));
  }
  return group;
}

function json({ graph, shown, statistics }) {
  const nodes = [...shown].map((place) => {
    const { id, type, about } = graph.nodes[place];
    return { id, label: type, properties: about };
  });
  const edges = between(graph, shown).map((link) => ({
    out: graph.nodes[link.source].id,
    in: graph.nodes[link.target].id,
    label: link.type,
    ...(link.name ? { name: link.name } : {}),
  }));
  return JSON.stringify({ nodes, edges, statistics: statistics || null }, null, 1);
}

function between(graph, shown) {
  return graph.links.filter((link) => shown.has(link.source) && shown.has(link.target));
}

/** As the package writes it (`twingraph_nb.lineage.graphml`): labels are `labelV`, `labelE`. */
function graphml({ graph, shown }) {
  const space = "http://graphml.graphdrawing.org/xmlns";
  const file = document.implementation.createDocument(space, "graphml");
  const add = (parent, tag, given, text) => {
    const element = file.createElementNS(space, tag);
    for (const [name, value] of Object.entries(given)) element.setAttribute(name, clean(value));
    if (text !== undefined) element.textContent = clean(text);
    parent.append(element);
    return element;
  };
  const root = file.documentElement;
  const keys = new Map();
  const names = [...shown].flatMap((place) => Object.keys(graph.nodes[place].about));
  const key = (id, kind, name) =>
    add(root, "key", { id, for: kind, "attr.name": name, "attr.type": "string" });
  key("labelV", "node", "labelV");
  for (const name of new Set(names)) {
    keys.set(name, `node${keys.size}`);
    key(keys.get(name), "node", name);
  }
  key("labelE", "edge", "labelE");
  key("name", "edge", "name");
  const body = add(root, "graph", { id: "G", edgedefault: "directed" });
  for (const place of shown) {
    const { id, type, about } = graph.nodes[place];
    const node = add(body, "node", { id });
    add(node, "data", { key: "labelV" }, type);
    for (const [name, value] of Object.entries(about)) {
      add(node, "data", { key: keys.get(name) }, value);
    }
  }
  for (const link of between(graph, shown)) {
    const ends = { source: graph.nodes[link.source].id, target: graph.nodes[link.target].id };
    const edge = add(body, "edge", { id: `e${link.place}`, ...ends });
    add(edge, "data", { key: "labelE" }, link.type);
    if (link.name) add(edge, "data", { key: "name" }, link.name);
  }
  return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(file)}\n`;
}

function clean(text) {
  return String(text).replace(ILLEGAL, "\ufffd");
}

module.exports = { FORMATS, save };
