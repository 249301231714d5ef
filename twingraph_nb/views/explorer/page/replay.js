"use strict";
/* The bar below the drawing that goes through the time of a run. */

const { button, make } = require("./dom.js");

const STEPS = 1000;
const LASTS = 8000; // ms of a whole replay
const FRAME = 80; // ms between two pictures
const FEWEST = 25; // pictures of a whole replay

/** Give a span as people say it. */
function duration(seconds) {
  if (seconds > 0 && seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** A bar for a graph with times. `moved(seconds)`: null stands for now, the end of all. */
class Replay {
  constructor(graph, moved) {
    this.graph = graph;
    this.moved = moved;
    this.timer = null;
    this.button = button("▶", "Replay the run", () => this.toggle());
    this.range = make("input", {
      type: "range",
      min: 0,
      max: STEPS,
      value: STEPS,
      "aria-label": "Time",
      on: { input: () => (this.pause(), this.tell()) },
    });
    this.text = make("output", {}, "");
    this.home = make("div", { class: "tg-x-replay" }, this.button, this.range, this.text);
    this.home.hidden = graph.span <= 0;
  }

  get time() {
    const at = Number(this.range.value);
    return at >= STEPS ? null : (at / STEPS) * this.graph.span;
  }

  /** Say how many tasks were in each state: pairs of word and count. */
  say(counts) {
    const { time, graph } = this;
    const at = time === null ? duration(graph.span) : `${duration(time)} of ${duration(graph.span)}`;
    const told = counts.map(([word, count]) => `${count} ${word}`).join(", ");
    this.text.textContent = told ? `${at} · ${told}` : at;
    this.range.setAttribute("aria-valuetext", this.text.textContent);
  }

  tell() {
    this.moved(this.time);
  }

  toggle() {
    if (this.timer !== null) {
      this.pause();
      return;
    }
    if (Number(this.range.value) >= STEPS) this.range.value = 0;
    this.at = Number(this.range.value);
    this.last = performance.now();
    this.button.textContent = "❚❚";
    this.button.title = "Stop here";
    this.timer = setInterval(() => this.frame(), FRAME);
    this.frame();
  }

  frame() {
    // A page that draws slowly takes longer, and leaves nothing out.
    const now = performance.now();
    const passed = Math.min(now - this.last, LASTS / FEWEST);
    this.last = now;
    this.at = Math.min(STEPS, this.at + (passed / LASTS) * STEPS);
    this.range.value = this.at;
    this.tell();
    if (this.at >= STEPS) this.pause();
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    this.button.textContent = "▶";
    this.button.title = "Replay the run";
  }

  /** Go back to the end. */
  reset() {
    this.pause();
    this.range.value = STEPS;
    this.tell();
  }
}

module.exports = { Replay, duration };
