"use strict";
/* Layers from left to right in time that grows with the nodes only. Pure. */

const SWEEPS = 4;

/** Give the links without those that close a circle, found by walking depth first. */
function acyclic(count, links) {
  const ways = Array.from({ length: count }, () => []);
  links.forEach(([source, target]) => source !== target && ways[source].push(target));
  const state = new Uint8Array(count); // 1 = on the way, 2 = done
  const kept = [];
  for (let start = 0; start < count; start++) {
    if (state[start]) continue;
    const stack = [[start, 0]];
    state[start] = 1;
    while (stack.length) {
      const top = stack[stack.length - 1];
      if (top[1] === ways[top[0]].length) {
        state[top[0]] = 2;
        stack.pop();
        continue;
      }
      const target = ways[top[0]][top[1]++];
      if (state[target] !== 1) kept.push([top[0], target]);
      if (!state[target]) {
        state[target] = 1;
        stack.push([target, 0]);
      }
    }
  }
  return kept;
}

/** Give each node its column: the longest way to it, but sources stand close to what they feed. */
function columns(count, links) {
  const kept = acyclic(count, links);
  const ways = Array.from({ length: count }, () => []);
  const needs = new Int32Array(count);
  const sources = new Uint8Array(count).fill(1);
  for (const [source, target] of kept) {
    ways[source].push(target);
    needs[target]++;
    sources[target] = 0;
  }
  const column = new Int32Array(count);
  const ready = [];
  for (let node = 0; node < count; node++) if (!needs[node]) ready.push(node);
  for (let at = 0; at < ready.length; at++) {
    for (const target of ways[ready[at]]) {
      column[target] = Math.max(column[target], column[ready[at]] + 1);
      if (!--needs[target]) ready.push(target);
    }
  }
  for (let node = 0; node < count; node++) {
    if (sources[node] && ways[node].length) {
      column[node] = Math.min(...ways[node].map((target) => column[target])) - 1;
    }
  }
  return { column, kept };
}

/** Give the nodes of each column from top to bottom, by the barycenter rule. */
function rows(count, { column, kept }) {
  const layers = [];
  for (let node = 0; node < count; node++) (layers[column[node]] ||= []).push(node);
  const before = Array.from({ length: count }, () => []);
  const behind = Array.from({ length: count }, () => []);
  for (const [source, target] of kept) {
    before[target].push(source);
    behind[source].push(target);
  }
  const place = new Float64Array(count);
  const set = (layer) => layer.forEach((node, row) => (place[node] = row - (layer.length - 1) / 2));
  layers.forEach(set);
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const [order, near] = sweep % 2 ? [[...layers].reverse(), behind] : [layers, before];
    for (const layer of order) {
      const middle = new Map(
        layer.map((node) => [
          node,
          near[node].length
            ? near[node].reduce((sum, other) => sum + place[other], 0) / near[node].length
            : place[node],
        ]),
      );
      layer.sort((a, b) => middle.get(a) - middle.get(b));
      set(layer);
    }
  }
  return layers;
}

/** Give x, y of each node. A column that would be far too high becomes several. */
function layered(sizes, links, gap) {
  const layers = rows(sizes.length, columns(sizes.length, links));
  const wide = sizes.reduce((sum, size) => sum + size.width + gap.x / 2, 0) / (sizes.length || 1);
  const high = sizes.reduce((sum, size) => sum + size.height + gap.y, 0) / (sizes.length || 1);
  const most = Math.max(16, Math.ceil(Math.sqrt((sizes.length * wide) / (2 * high))));
  const places = new Array(sizes.length);
  let x = 0;
  for (const layer of layers) {
    const parts = Math.ceil(layer.length / most);
    const tall = Math.ceil(layer.length / parts);
    for (let part = 0; part < parts; part++) {
      const nodes = layer.slice(part * tall, (part + 1) * tall);
      const width = Math.max(...nodes.map((node) => sizes[node].width));
      const height = nodes.reduce((sum, node) => sum + sizes[node].height + gap.y, -gap.y);
      let y = -height / 2;
      for (const node of nodes) {
        places[node] = [x + width / 2, y + sizes[node].height / 2];
        y += sizes[node].height + gap.y;
      }
      x += width + (part + 1 < parts ? gap.x / 3 : gap.x);
    }
  }
  return places;
}

module.exports = { columns, layered };
