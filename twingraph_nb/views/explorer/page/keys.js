"use strict";
/* The keyboard: from node to node, and the commands that have a key. */

const WAYS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
const ZOOM = 1.3;

const SAID =
  "Arrows: the nearest node that way. Tab: the next node. /: search. + and -: zoom. " +
  "f: fit. Escape: let go; then Tab leaves the graph.";

/** Give the node that lies next in a direction; null if none does. */
function towards(from, others, [dx, dy]) {
  let [best, least] = [null, Infinity];
  for (const { place, x, y } of others) {
    const along = (x - from.x) * dx + (y - from.y) * dy;
    const aside = Math.abs((x - from.x) * dy) + Math.abs((y - from.y) * dx);
    const far = along + 2 * aside;
    if (along > 1 && aside <= 3 * along && far < least) [best, least] = [place, far];
  }
  return best;
}

/** Give the nodes as one reads them: column by column, from top to bottom. */
function inOrder(spots) {
  return [...spots].sort((a, b) => Math.round(a.x) - Math.round(b.x) || a.y - b.y);
}

/**
 * Listen on the explorer. `act`: spots() of the nodes that are seen, chosen() place or null,
 * choose(place or null), search(), zoom(factor), fit(), calm() which lets go of what is set.
 */
function listen(root, canvas, act) {
  let leaving = false;
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      act.calm();
      leaving = true;
      canvas.focus({ preventScroll: true });
      event.preventDefault();
      return;
    }
    if (event.target.matches("input, select, textarea")) return;
    const commands = {
      "/": act.search,
      "+": () => act.zoom(ZOOM),
      "=": () => act.zoom(ZOOM),
      "-": () => act.zoom(1 / ZOOM),
      f: act.fit,
    };
    const command = commands[event.key] || (event.target === canvas && step(event, act, leaving));
    if (!command) return;
    leaving = false;
    event.preventDefault();
    command();
  });
  canvas.addEventListener("blur", () => (leaving = false));
}

/** What an arrow or Tab does now; null if it is not ours. */
function step(event, act, leaving) {
  const spots = act.spots();
  const at = act.chosen();
  const from = spots.find((spot) => spot.place === at);
  if (event.key in WAYS) {
    const first = () => act.choose(inOrder(spots)[0].place);
    if (!from) return spots.length ? first : null;
    const next = towards(from, spots, WAYS[event.key]);
    return () => next !== null && act.choose(next);
  }
  if (event.key !== "Tab" || leaving) return null;
  const order = inOrder(spots);
  const here = order.findIndex((spot) => spot.place === at);
  const next = event.shiftKey ? order.at(here < 0 ? -1 : here - 1) : order[here + 1];
  if (!next || (event.shiftKey && here === 0)) return null; // past the last node it leaves
  return () => act.choose(next.place);
}

module.exports = { SAID, inOrder, listen, towards };
