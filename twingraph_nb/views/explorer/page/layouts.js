"use strict";
/* Where nodes go: sizes and links in, places out. Runs in a worker, and is pure. */

const { columns, layered } = require("./layered.js");

const GAP = { x: 48, y: 14 };
/* dagre draws better than our layers, but its time grows with all columns that edges cross. */
const DAGRE = { crossed: 1500, rows: 40 };
/* Layers go to the right, but down where that makes an unreadable graph so much larger. */
const READABLE = 0.8;
const WORTH = 1.25;
const RING = 120; // nodes up to which one circle is readable

const KINDS = { layered: inLayers, force, circular, grid };

/** Give [x, y] for each node. `sizes`: {width, height}; `links`: two places in `sizes`, and how
 * wide its label is; `room`: {width, height} of what is drawn on. */
function places({ kind, sizes, links, room, careful = true }) {
  if (!sizes.length) return [];
  return KINDS[kind](sizes, links, careful, room);
}

/** True when places are found in less time than it takes to ask a worker. */
function isQuick({ kind, sizes, links }) {
  return kind === "circular" || kind === "grid" || (kind === "layered" && !suits(sizes, links));
}

/** True for a graph that dagre is fast enough for. */
function suits(sizes, links) {
  const { column, kept } = columns(sizes.length, links);
  const high = new Map();
  for (const at of column) high.set(at, (high.get(at) || 0) + 1);
  const crossed = kept.reduce((sum, [a, b]) => sum + column[b] - column[a], sizes.length);
  return crossed <= DAGRE.crossed && Math.max(...high.values()) <= DAGRE.rows;
}

function inLayers(sizes, links, careful, room) {
  if (!careful || !suits(sizes, links)) return layered(sizes, links, GAP);
  const right = byDagre(sizes, links, "LR");
  if (!room || zoom(sizes, right, room) >= READABLE) return right;
  const down = byDagre(sizes, links, "TB");
  return zoom(sizes, down, room) > WORTH * zoom(sizes, right, room) ? down : right;
}

/** Give how far a drawing must be zoomed to fit into the room. */
function zoom(sizes, found, room) {
  const span = (axis, side) => {
    const ends = found.map((at, node) => [at[axis] - sizes[node][side] / 2, at[axis] + sizes[node][side] / 2]);
    return Math.max(...ends.map(([, to]) => to)) - Math.min(...ends.map(([from]) => from));
  };
  return Math.min(room.width / span(0, "width"), room.height / span(1, "height"));
}

function byDagre(sizes, links, rankdir) {
  const dagre = require("dagre");
  const graph = new dagre.graphlib.Graph({ multigraph: true });
  graph.setGraph({ rankdir, nodesep: GAP.y, ranksep: GAP.x, edgesep: 8 });
  sizes.forEach(({ width, height }, node) => graph.setNode(String(node), { width, height }));
  links.forEach(([source, target, width = 0], link) => {
    const label = { width, height: width ? 10 : 0, labelpos: "c" };
    if (source !== target) graph.setEdge(String(source), String(target), label, String(link));
  });
  dagre.layout(graph);
  return sizes.map((_, node) => {
    const { x, y } = graph.node(String(node));
    return [x, y];
  });
}

function force(sizes, links) {
  const d3 = require("d3-force");
  const nodes = sizes.map((size) => ({ room: Math.max(size.height, size.width / 2) }));
  const edges = links.filter(([a, b]) => a !== b).map(([source, target]) => ({ source, target }));
  const many = nodes.length > 500;
  const charge = d3.forceManyBody().strength(many ? -120 : -260).distanceMax(many ? 600 : 900);
  const simulation = d3
    .forceSimulation(nodes)
    .force("link", d3.forceLink(edges).distance(70))
    .force("charge", charge.theta(many ? 1.3 : 0.9))
    .force("x", d3.forceX().strength(0.03))
    .force("y", d3.forceY().strength(0.05))
    .alphaDecay(1 - 0.001 ** (1 / (many ? 90 : 240)))
    .stop();
  while (simulation.alpha() > 0.001) simulation.tick();
  // To keep nodes apart costs as much as all the rest, so it is done when they have their places.
  simulation.alpha(0.1).force("apart", d3.forceCollide((node) => node.room * 0.6));
  simulation.tick(many ? 12 : 60);
  return nodes.map(({ x, y }) => [x, y]);
}

/** One circle, or for many nodes rings with the busiest nodes in the middle. */
function circular(sizes, links) {
  const count = sizes.length;
  const room = sizes.reduce((sum, size) => sum + Math.max(size.width, size.height), 0) / count + 10;
  const found = new Array(count);
  if (count <= RING) {
    const radius = Math.max(60, (count * room) / (2 * Math.PI));
    for (let node = 0; node < count; node++) {
      const angle = (2 * Math.PI * node) / count - Math.PI / 2;
      found[node] = [radius * Math.cos(angle), radius * Math.sin(angle)];
    }
    return found;
  }
  const degree = new Int32Array(count);
  for (const [source, target] of links) {
    degree[source]++;
    degree[target]++;
  }
  const order = [...degree.keys()].sort((a, b) => degree[b] - degree[a] || a - b);
  let done = 0;
  for (let ring = 0; done < count; ring++) {
    const most = ring ? Math.floor(2 * Math.PI * ring) : 1;
    const here = order.slice(done, done + most);
    here.forEach((node, at) => {
      const angle = (2 * Math.PI * at) / here.length;
      found[node] = [ring * room * Math.cos(angle), ring * room * Math.sin(angle)];
    });
    done += here.length;
  }
  return found;
}

function grid(sizes) {
  const wide = Math.max(...sizes.map((size) => size.width)) + 16;
  const high = Math.max(...sizes.map((size) => size.height)) + GAP.y;
  const across = Math.max(1, Math.round(Math.sqrt((sizes.length * 1.8 * high) / wide)));
  return sizes.map((_, node) => [(node % across) * wide, Math.floor(node / across) * high]);
}

module.exports = { isQuick, places };
