"use strict";
/* The drawing: nodes and links on cytoscape's canvas, kept in step with what is chosen. */

const cytoscape = require("cytoscape");
const { forCanvas } = require("./shapes.js");

const BASE = 28; // pixels of a node
const LINE = 11; // pixels of a label's font
const EDGE = 24; // pixels around what is fitted into view
const CLOSEST = 1.25; // zoom at which a small graph stays
const FEW_LINKS = 120; // up to which links say what they are
const OFTEN = 12; // links of a type from which it is no news what they are
const MANY = 500; // nodes from which links are straight and labels have no back

const DASHES = { feeds: "solid", precedes: "dashed" }; // others are dotted
/* Between the tasks of a run they would be on every second line; they say so when chosen. */
const SILENT = new Set(["feeds", "precedes", "skipped_because_of", "part_of"]);

/* cytoscape wants every value that a style takes from the start. */
const BLANK = { fill: "#888", border: "#888", dash: "solid", icon: "none", ...forCanvas("") };

class Canvas {
  /** `act`: chosen(place or null), hovered(place or null). */
  constructor(home, graph, act) {
    this.graph = graph;
    this.home = home;
    this.many = graph.nodes.length > MANY;
    this.icons = new Map();
    this.cy = cytoscape({
      container: home,
      elements: this.elements(),
      layout: { name: "preset" },
      style: [],
      minZoom: 0.02,
      maxZoom: 4,
      boxSelectionEnabled: false,
      autoungrabify: false,
      selectionType: "single",
      textureOnViewport: this.many,
      hideEdgesOnViewport: this.many,
      pixelRatio: this.many ? 1 : "auto",
    });
    this.nodes = graph.nodes.map((node) => this.cy.getElementById(`n${node.place}`));
    this.links = graph.links.map((link) => this.cy.getElementById(`e${link.place}`));
    // Else the wheel would stop scrolling the notebook whenever the graph comes by.
    this.cy.userZoomingEnabled(false);
    // What was fitted into view is fitted again when there is more or less room for it.
    this.whole = true;
    this.cy.on("dragpan scrollzoom pinchzoom", () => (this.whole = false));
    this.cy.on("tap", (event) => {
      act.chosen(event.target === this.cy || event.target.isEdge() ? null : event.target.data("at"));
    });
    this.cy.on("mouseover", "node", (event) => act.hovered(event.target.data("at")));
    this.cy.on("mouseout", "node", () => act.hovered(null));
  }

  elements() {
    const small = this.graph.links.length <= FEW_LINKS;
    const counts = new Map();
    for (const { type } of this.graph.links) counts.set(type, (counts.get(type) || 0) + 1);
    const silent = (type) => SILENT.has(type) || counts.get(type) > OFTEN;
    const nodes = this.graph.nodes.map((node) => ({
      data: { id: `n${node.place}`, at: node.place, size: BASE, label: "", ...BLANK },
    }));
    const links = this.graph.links.map((link) => ({
      data: {
        id: `e${link.place}`,
        source: `n${link.source}`,
        target: `n${link.target}`,
        dash: DASHES[link.type] || "dotted",
        label: small ? link.name || (silent(link.type) ? "" : words(link.type)) : "",
        full: link.name || words(link.type),
      },
    }));
    return { nodes, edges: links };
  }

  /** Draw faces: pairs of a node and what `faces.face` gave, with size and label. */
  paint(faces) {
    this.cy.batch(() => {
      for (const [node, face, size, label] of faces) {
        const { shape, points } = forCanvas(face.form);
        this.nodes[node.place].data({
          fill: face.fill,
          border: face.border,
          dash: face.dashed ? "dashed" : "solid",
          icon: face.icon ? this.icon(face) : "none",
          shape,
          points,
          size: size ?? BASE,
          label,
        });
      }
    });
  }

  icon({ icon, ink }) {
    const key = `${icon.state} ${ink}`;
    if (!this.icons.has(key)) {
      const picture =
        `<svg xmlns="http://www.w3.org/2000/svg" width="32" height="32" viewBox="0 0 16 16">` +
        `<path d="${icon.path}" fill="${icon.solid ? ink : "none"}" stroke="${ink}" ` +
        `stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/></svg>`;
      this.icons.set(key, `data:image/svg+xml;utf8,${encodeURIComponent(picture)}`);
    }
    return this.icons.get(key);
  }

  /** Show these nodes and the links between them; `hits` get a ring when there was a search. */
  show({ shown, hits, searched }) {
    this.cy.batch(() => {
      this.nodes.forEach((node, place) => {
        node.toggleClass("gone", !shown.has(place));
        node.toggleClass("hit", searched && hits.has(place));
        node.toggleClass("beside", searched && !hits.has(place));
      });
    });
  }

  /** Let nodes that are not there yet show as shadows. */
  shade(places) {
    this.cy.batch(() => {
      this.nodes.forEach((node, place) => node.toggleClass("later", places.has(place)));
    });
  }

  /** Mark a node and its links; null for none. */
  choose(place) {
    this.cy.batch(() => {
      this.cy.$(".chosen, .lit").removeClass("chosen lit");
      if (place === null) return;
      this.nodes[place].addClass("chosen").connectedEdges().addClass("lit");
    });
  }

  /** Bring a node into sight, if it is not. */
  reveal(place) {
    const { x1, y1, x2, y2 } = this.cy.extent();
    const { x, y } = this.nodes[place].position();
    if (x >= x1 && x <= x2 && y >= y1 && y <= y2) return;
    this.whole = false;
    this.cy.center(this.nodes[place]);
  }

  /** Give what a layout needs of the nodes that are seen, with the places they stand for. */
  request(kind) {
    const order = [];
    const row = new Map();
    this.nodes.forEach((node, place) => {
      if (!node.hasClass("gone")) {
        row.set(place, order.length);
        order.push(place);
      }
    });
    const sizes = order.map((place) => this.room(this.nodes[place]));
    const links = this.graph.links
      .filter((link) => row.has(link.source) && row.has(link.target))
      .map((link) => {
        const label = this.links[link.place].data("label");
        return [row.get(link.source), row.get(link.target), [...label].length * LINE * 0.45];
      });
    const room = { width: this.home.clientWidth, height: this.home.clientHeight };
    return { request: { kind, sizes, links, room }, order };
  }

  /** Where all nodes are now. */
  places() {
    return this.nodes.map((node) => [node.position("x"), node.position("y")]);
  }

  place(order, places) {
    this.cy.batch(() => {
      order.forEach((at, row) => this.nodes[at].position({ x: places[row][0], y: places[row][1] }));
    });
    this.fit();
  }

  /** Bring all that is seen into view. Its bounds follow from the places: cytoscape's own are
   * those of the last picture, when nodes have just come back. */
  fit() {
    this.whole = true;
    this.cy.resize();
    const [wide, high] = [this.cy.width(), this.cy.height()];
    let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
    for (const node of this.nodes) {
      if (node.hasClass("gone")) continue;
      const { x, y } = node.position();
      const { width, height } = this.room(node);
      const half = node.data("size") / 2;
      [left, right] = [Math.min(left, x - width / 2), Math.max(right, x + width / 2)];
      [top, bottom] = [Math.min(top, y - half), Math.max(bottom, y - half + height)];
    }
    if (left > right || !wide || !high) return;
    const [across, down] = [right - left, bottom - top].map((side) => Math.max(side, 1));
    const fits = Math.min((wide - 2 * EDGE) / across, (high - 2 * EDGE) / down);
    const zoom = Math.min(CLOSEST, Math.max(fits, this.cy.minZoom()));
    const pan = {
      x: wide / 2 - (zoom * (left + right)) / 2,
      y: high / 2 - (zoom * (top + bottom)) / 2,
    };
    this.cy.viewport({ zoom, pan });
  }

  /** Width and height of a node with its label, in the graph's own measure. */
  room(node) {
    const { size, label } = node.data();
    const wide = Math.min(150, [...label].length * LINE * 0.58);
    return { width: Math.max(size, wide), height: size + (label ? LINE + 6 : 0) };
  }

  zoom(factor) {
    const box = this.home.getBoundingClientRect();
    const middle = { x: box.width / 2, y: box.height / 2 };
    this.whole = false;
    this.cy.zoom({ level: this.cy.zoom() * factor, renderedPosition: middle });
  }

  /** Take the colours of the page, which may have changed. */
  dress({ text, soft, back, accent, line }) {
    this.colours = { text, soft, back, accent, line };
    const node = {
      shape: "data(shape)",
      "shape-polygon-points": "data(points)",
      width: "data(size)",
      height: "data(size)",
      "background-color": "data(fill)",
      "background-image": "data(icon)",
      "background-width": "56%",
      "background-height": "56%",
      "border-color": "data(border)",
      "border-width": 1.5,
      "border-style": "data(dash)",
      label: "data(label)",
      color: text,
      "font-size": LINE,
      "font-family": "system-ui, Segoe UI, Helvetica Neue, Arial, sans-serif",
      "min-zoomed-font-size": 6,
      "text-valign": "bottom",
      "text-margin-y": 4,
    };
    if (!this.many) {
      Object.assign(node, {
        "text-background-color": back,
        "text-background-opacity": 0.8,
        "text-background-padding": 1,
      });
    }
    const edge = {
      width: this.many ? 1 : 1.4,
      "line-color": line,
      "line-style": "data(dash)",
      "line-opacity": this.many ? 0.55 : 1,
      "target-arrow-color": line,
      "target-arrow-shape": "triangle",
      "arrow-scale": 0.8,
      "curve-style": this.many ? "straight" : "bezier",
      label: "data(label)",
      color: soft,
      "font-size": 9,
      "min-zoomed-font-size": 6,
      "text-rotation": "autorotate",
      "text-margin-y": -6,
    };
    this.cy
      .style()
      .clear()
      .selector("node").style(node)
      .selector("edge").style(edge)
      .selector(".gone").style({ display: "none" })
      .selector(".later").style({ opacity: 0.14 })
      .selector(".beside").style({ opacity: 0.5 })
      .selector(".hit").style({ "outline-width": 3, "outline-color": accent, "outline-offset": 2 })
      .selector(".lit")
      .style({ "line-color": accent, "target-arrow-color": accent, "line-opacity": 1, width: 2.2 })
      .selector(".lit[full]").style({ label: "data(full)" })
      .selector("node.chosen")
      .style({ "overlay-color": accent, "overlay-opacity": 0.28, "overlay-padding": 7 })
      .update();
  }

  close() {
    this.cy.destroy();
  }
}

function words(type) {
  return type.replaceAll("_", " ");
}

module.exports = { Canvas };
