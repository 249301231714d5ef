"use strict";
/* The explorer: one graph, its controls, and what happens when they are used. */

const { make } = require("./dom.js");
const { Canvas } = require("./canvas.js");
const { Placing } = require("./placing.js");
const { Replay } = require("./replay.js");
const { Toolbar } = require("./toolbar.js");
const { save } = require("./exporting.js");
const { fill } = require("./legend.js");
const { listen } = require("./keys.js");
const { read, seen, stateAt, isThere } = require("./model.js");
const faces = require("./faces.js");
const panel = require("./panel.js");

const TYPING = 150; // ms after the last key until a search is made
const TRAITS = ["arrangement", "color_by", "size_by", "label_by", "search", "hidden", "chosen"];

class Explorer {
  constructor(model, home) {
    this.model = model;
    this.graph = read(model.get("graph"));
    this.looks = model.get("looks");
    this.placing = new Placing();
    this.faces = new Map();
    this.numbers = false;
    this.build(home);
    this.watch(home);
    this.look();
    this.arrange();
  }

  build(home) {
    const { graph, model } = this;
    this.drawing = make("div", {
      class: "tg-x-drawing",
      tabindex: 0,
      role: "application",
      "aria-label": "Graph; arrows and Tab move between nodes",
      style: "visibility: hidden", // until the nodes have places
    });
    this.legend = make("ul", { class: "tg-x-legend", "aria-label": "Legend" });
    this.panel = make("div", { class: "tg-x-panel" });
    this.status = make("div", { class: "tg-x-status", role: "status", "aria-live": "polite" });
    this.busy = make("div", { class: "tg-x-busy" }, "laying out …");
    this.busy.hidden = true;
    this.toolbar = new Toolbar(graph, model, {
      set: (trait, value) => this.set(trait, value),
      save: (format) => this.save(format),
      fit: () => this.canvas.fit(),
      zoom: (factor) => this.canvas.zoom(factor),
      numbers: () => this.showNumbers(!this.numbers),
      say: (text) => (this.status.textContent = text),
    });
    const stage = make("div", { class: "tg-x-stage" }, this.drawing, this.busy);
    const middle = make("div", { class: "tg-x-middle" }, stage, this.panel);
    // Lab's own keys (a, b, dd ...) must not act on the notebook from here.
    this.root = make("div", { class: "tg-explorer", "data-lm-suppress-shortcuts": true });
    this.root.append(this.toolbar.home, this.toolbar.filters, middle, this.legend);
    home.append(this.root);
    this.canvas = new Canvas(this.drawing, graph, {
      chosen: (place) => this.choose(place),
      hovered: (place) => this.hover(place),
    });
    this.replay = new Replay(graph, (time) => this.moveTo(time));
    this.replay.tell();
    this.root.append(this.replay.home, this.status);
  }

  watch(home) {
    const { model, drawing } = this;
    this.listeners = TRAITS.map((trait) => [`change:${trait}`, () => this.changed(trait)]);
    this.listeners.push(["change:measures", () => this.measured()]);
    this.listeners.forEach(([event, act]) => model.on(event, act));
    listen(this.root, drawing, {
      spots: () => this.spots(),
      chosen: () => this.place,
      choose: (place) => this.choose(place, true),
      search: () => this.toolbar.search.focus(),
      zoom: (factor) => this.canvas.zoom(factor),
      fit: () => this.canvas.fit(),
      calm: () => this.calm(),
    });
    // A small graph must not catch the wheel of somebody who scrolls the notebook.
    drawing.addEventListener("focus", () => this.canvas.cy.userZoomingEnabled(true));
    drawing.addEventListener("blur", () => this.canvas.cy.userZoomingEnabled(false));
    drawing.addEventListener("pointerdown", () => drawing.focus({ preventScroll: true }));
    this.sized = new ResizeObserver(() => this.resized());
    this.sized.observe(drawing);
    this.themed = new MutationObserver(() => this.dress());
    const attributes = { attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"] };
    this.themed.observe(document.body, attributes);
    this.themed.observe(document.documentElement, attributes);
    home.classList.add("tg-view");
  }

  close() {
    this.listeners.forEach(([event, act]) => this.model.off(event, act));
    clearTimeout(this.later);
    this.replay.pause();
    this.placing.stop();
    this.sized.disconnect();
    this.themed.disconnect();
    this.canvas.close();
  }

  // -- what was chosen -----------------------------------------------------------------------

  set(trait, value) {
    this.model.set(trait, value);
    this.model.save_changes();
  }

  changed(trait) {
    this.toolbar.refresh();
    if (trait === "arrangement" || trait === "hidden") this.places = null;
    if (trait === "arrangement") this.arrange();
    else if (trait === "chosen") this.showChosen();
    else if (trait === "search") {
      clearTimeout(this.later);
      this.later = setTimeout(() => this.look(true), TYPING);
    } else if (trait === "hidden") this.look(false, true);
    else this.look();
  }

  get place() {
    const id = this.model.get("chosen");
    if (!id) return null;
    const found = this.graph.nodes.findIndex((node) => node.id === id);
    return found < 0 ? null : found;
  }

  choose(place, reveal = false) {
    this.set("chosen", place === null ? "" : this.graph.nodes[place].id);
    if (place === null) return;
    if (reveal) this.canvas.reveal(place);
    const node = this.graph.nodes[place];
    this.status.textContent = [node.type, node.name, node.now ?? node.state].filter(Boolean).join(", ");
  }

  calm() {
    const was = [this.model.get("search"), this.model.get("chosen"), !this.toolbar.filters.hidden];
    if (was[2]) this.toolbar.open(false);
    else if (was[1]) this.choose(null);
    else if (was[0]) this.set("search", "");
  }

  hover(place) {
    const node = place === null ? null : this.graph.nodes[place];
    const said = node && [node.name, node.type, node.now ?? node.state, node.platform];
    this.drawing.title = said ? said.filter(Boolean).join(" · ") : "";
  }

  spots() {
    return [...this.seen.shown].map((place) => ({ place, ...this.canvas.nodes[place].position() }));
  }

  // -- what is seen --------------------------------------------------------------------------

  /** Draw by what is chosen now: filters, search, colours, sizes, labels. */
  look(fit = false, arrange = false) {
    const before = this.seen?.searched;
    this.seen = seen(this.graph, this.model.get("hidden"), this.model.get("search"));
    this.canvas.show(this.seen);
    this.count();
    this.measure();
    this.paint();
    if (!this.colours) this.dress();
    this.showChosen();
    if (arrange) this.arrange();
    else if (fit) this.gather(before);
  }

  /** Draw what a search found close together, and put all back behind the last one. */
  gather(before) {
    const { searched } = this.seen;
    if (searched && !before) this.places = this.canvas.places();
    if (searched) this.arrange();
    else if (this.places) {
      this.placing.stop();
      this.busy.hidden = true;
      this.canvas.place([...this.places.keys()], this.places);
      this.places = null;
    } else this.arrange();
  }

  shownNodes() {
    return [...this.seen.shown].map((place) => this.graph.nodes[place]);
  }

  count() {
    const { shown, hits, searched } = this.seen;
    for (const node of this.graph.nodes) node.degree = 0;
    let edges = 0;
    for (const link of this.graph.links) {
      if (!shown.has(link.source) || !shown.has(link.target)) continue;
      edges++;
      this.graph.nodes[link.source].degree++;
      this.graph.nodes[link.target].degree++;
    }
    const all = this.graph.nodes.length;
    const number = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
    const of = shown.size === all ? number(all, "node") : `${shown.size} of ${number(all, "node")}`;
    const found = searched
      ? ` · ${number(hits.size, "match").replace("matchs", "matches")} with ${number(shown.size - hits.size, "neighbour")}`
      : "";
    this.status.textContent = `${of}, ${number(edges, "edge")}${found}`;
  }

  paint(only) {
    const by = this.model.get("color_by");
    const nodes = this.shownNodes();
    const measures = this.measures || {};
    const colours = faces.palette(nodes, by, measures, this.looks);
    const choice = { by, colours, measures, looks: this.looks };
    const sizes = faces.sizes(nodes, this.model.get("size_by"), measures);
    const label = this.model.get("label_by");
    const painted = (only || nodes).map((node) => {
      const face = faces.face(node, choice);
      this.faces.set(node.place, face);
      return [node, face, sizes.get(node.place), faces.label(node, label)];
    });
    for (const node of this.graph.nodes) {
      if (!this.faces.has(node.place)) this.faces.set(node.place, faces.face(node, choice));
    }
    this.canvas.paint(painted);
    const there = (node) => this.time === null || isThere(node, this.time);
    fill(this.legend, nodes.filter(there), choice);
  }

  arrange() {
    const { request, order } = this.canvas.request(this.model.get("arrangement"));
    const began = performance.now();
    this.busy.hidden = false;
    this.placing.ask(request, (places) => {
      this.busy.hidden = true;
      this.canvas.place(order, places);
      this.drawing.style.visibility = "visible";
      this.root.dataset.laidOut = `${request.kind} ${order.length} ${Math.round(performance.now() - began)}`;
    });
  }

  resized() {
    if (this.canvas.whole && this.drawing.clientWidth) this.canvas.fit();
    else this.canvas.cy.resize();
  }

  dress() {
    const css = getComputedStyle(this.root);
    const colour = (name) => css.getPropertyValue(`--tg-x-${name}`).trim();
    const wanted = ["text", "soft", "back", "accent", "line"];
    this.colours = Object.fromEntries(wanted.map((name) => [name, colour(name)]));
    this.canvas.dress(this.colours);
  }

  // -- time ----------------------------------------------------------------------------------

  /** Show all as it was; null stands for the end. */
  moveTo(time) {
    this.time = time;
    const moved = [];
    const later = new Set();
    const counts = new Map();
    for (const node of this.graph.nodes) {
      const now = time === null ? node.state : stateAt(node, time);
      if (time !== null && !isThere(node, time)) later.add(node.place);
      else if (node.type === "Task") counts.set(now, (counts.get(now) || 0) + 1);
      if (now !== (node.now ?? node.state)) moved.push(node);
      node.now = now;
    }
    this.canvas.shade(later);
    if (moved.length && this.seen) {
      this.paint(moved.filter((node) => this.seen.shown.has(node.place)));
      this.showChosen();
    }
    const word = (state) => this.looks.states[state]?.word || state;
    this.replay?.say([...counts].filter(([state]) => state).map(([state, n]) => [word(state), n]));
  }

  // -- beside and out ------------------------------------------------------------------------

  showChosen() {
    const place = this.place;
    this.canvas.choose(place !== null && this.seen.shown.has(place) ? place : null);
    const parts = [];
    if (place !== null) {
      const node = this.graph.nodes[place];
      const act = { go: (other) => this.go(other), close: () => this.choose(null) };
      parts.push(panel.properties(node, this.graph, this.faces, act));
    }
    if (this.numbers) {
      const alone = this.model.comm_live === false;
      parts.push(panel.statistics(this.model.get("measures"), { waiting: this.waiting, alone }));
    }
    this.panel.replaceChildren(...parts);
    this.panel.hidden = !parts.length;
  }

  /** Go to a neighbour, also one that is not shown now: its properties are there. */
  go(place) {
    this.choose(place, this.seen.shown.has(place));
    this.panel.scrollTop = 0;
  }

  showNumbers(on) {
    this.numbers = on;
    this.toolbar.numbers.setAttribute("aria-pressed", String(on));
    this.measure();
    this.showChosen();
  }

  /** Ask the kernel for what it counts, if anybody looks at it and it is not there yet. */
  measure() {
    const wanted =
      this.numbers ||
      this.model.get("color_by") === "community" ||
      this.model.get("size_by") === "pagerank";
    const nodes = [...this.seen.shown];
    this.key = nodes.join(" ");
    const known = this.model.get("measures").nodes;
    this.waiting = !known || known.join(" ") !== this.key;
    if (!wanted || !this.waiting) {
      if (!this.waiting) this.take();
      return;
    }
    this.model.send({ ask: "measures", nodes });
  }

  take() {
    const { nodes = [], community, rank } = this.model.get("measures");
    if (!community) return;
    this.measures = {
      community: new Map(nodes.map((place, at) => [place, community[at]])),
      rank: new Map(nodes.map((place, at) => [place, rank[at]])),
    };
  }

  measured() {
    const known = this.model.get("measures").nodes || [];
    this.waiting = known.join(" ") !== this.key;
    if (!this.waiting) this.take();
    this.paint();
    this.showChosen();
  }

  save(format) {
    const { statistics } = this.waiting ? {} : this.model.get("measures");
    const { canvas, graph, faces: drawn, seen: { shown } } = this;
    save(format, { canvas, graph, faces: drawn, shown, statistics });
  }
}

/** What anywidget calls for each view of the widget. */
function render({ model, el }) {
  let explorer = null;
  // The element is put into the page after this returns; a canvas needs to know its size.
  const frame = requestAnimationFrame(() => (explorer = new Explorer(model, el)));
  return () => {
    cancelAnimationFrame(frame);
    explorer?.close();
  };
}

module.exports = { render };
