"use strict";
/* Outlines of nodes, the same on the canvas, in the legend and in an exported picture. Pure. */

const { draw } = require("./dom.js");

/** Points of polygons from -1 to 1; other shapes are curves. */
const POLYGONS = {
  rectangle: [-1, -1, 1, -1, 1, 1, -1, 1],
  "cut-rectangle": [-0.45, -1, 0.45, -1, 1, -0.45, 1, 0.45, 0.45, 1, -0.45, 1, -1, 0.45, -1, -0.45],
  hexagon: [-1, 0, -0.5, -0.9, 0.5, -0.9, 1, 0, 0.5, 0.9, -0.5, 0.9],
  octagon: [-0.42, -1, 0.42, -1, 1, -0.42, 1, 0.42, 0.42, 1, -0.42, 1, -1, 0.42, -1, -0.42],
  pentagon: [0, -1, 1, -0.24, 0.62, 0.95, -0.62, 0.95, -1, -0.24],
  diamond: [0, -1, 1, 0, 0, 1, -1, 0],
  tag: [-1, -0.8, 0.3, -0.8, 1, 0, 0.3, 0.8, -1, 0.8],
  triangle: [0, -1, 1, 0.85, -1, 0.85],
  star: star(),
};

function star() {
  const points = [];
  for (let at = 0; at < 10; at++) {
    const [angle, far] = [(Math.PI * at) / 5 - Math.PI / 2, at % 2 ? 0.45 : 1];
    points.push(far * Math.cos(angle), far * Math.sin(angle));
  }
  return points;
}

/** Give the path of a shape with its middle at x, y. */
function outline(shape, x, y, width, height) {
  const [a, b] = [width / 2, height / 2];
  const points = POLYGONS[shape];
  if (points) {
    const corners = [];
    for (let at = 0; at < points.length; at += 2) {
      corners.push(`${round(x + a * points[at])} ${round(y + b * points[at + 1])}`);
    }
    return `M${corners.join("L")}Z`;
  }
  const rx = shape === "ellipse" ? a : shape === "barrel" ? a * 0.75 : Math.min(a, b) * 0.4;
  const ry = shape === "ellipse" ? b : shape === "barrel" ? b * 0.4 : rx;
  const [h, v] = [2 * (a - rx), 2 * (b - ry)];
  const turn = (dx, dy) => `a${round(rx)} ${round(ry)} 0 0 1 ${round(dx)} ${round(dy)}`;
  return (
    `M${round(x - a + rx)} ${round(y - b)}h${round(h)}${turn(rx, ry)}v${round(v)}${turn(-rx, ry)}` +
    `h${round(-h)}${turn(-rx, -ry)}v${round(-v)}${turn(rx, -ry)}Z`
  );
}

function round(number) {
  return Math.round(number * 100) / 100;
}

/** What a face needs on a canvas of cytoscape. */
function forCanvas(shape) {
  return POLYGONS[shape]
    ? { shape: "polygon", points: POLYGONS[shape] }
    : { shape: shape === "ellipse" || shape === "barrel" ? shape : "round-rectangle", points: POLYGONS.rectangle };
}

/** Draw a face as SVG elements: the outline, and the icon of its state if it has one. */
function drawn(face, x, y, size, ink) {
  const parts = [
    draw("path", {
      d: outline(face.form, x, y, size, size),
      fill: face.fill,
      stroke: face.border,
      "stroke-width": size < 20 ? 1 : 1.5,
      "stroke-dasharray": face.dashed ? "3 2" : null,
    }),
  ];
  if (face.icon) {
    const scale = (size * 0.56) / 16;
    const at = `translate(${round(x - 8 * scale)} ${round(y - 8 * scale)}) scale(${round(scale)})`;
    parts.push(
      draw("path", {
        d: face.icon.path,
        transform: at,
        fill: face.icon.solid ? ink : "none",
        stroke: ink,
        "stroke-width": 2,
        "stroke-linecap": "round",
        "stroke-linejoin": "round",
      }),
    );
  }
  return parts;
}

module.exports = { drawn, forCanvas, outline };
