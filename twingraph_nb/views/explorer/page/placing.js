"use strict";
/* Layouts beside the page's own thread, so that it stays alive while they are worked out. */

const NEEDED = [
  "./layouts.js", "./layered.js", "dagre", "d3-force", "d3-quadtree", "d3-dispatch", "d3-timer",
];

/** The worker's program: the same modules, by their text. */
function program() {
  const modules = require("modules");
  const table = NEEDED.map((name) => `${JSON.stringify(name)}: ${modules[name]}`).join(",\n");
  return `"use strict";
const made = {};
const modules = {${table}};
${require}
onmessage = ({ data }) => postMessage(require("./layouts.js").places(data));`;
}

/** Gives places for one request at a time; a newer request ends the one before it. */
class Placing {
  constructor() {
    this.worker = null;
    this.address = "";
  }

  /** Work out `request` and hand the places to `done`. */
  ask(request, done) {
    this.stop();
    const { isQuick, places } = require("./layouts.js");
    const here = () => done(places({ ...request, careful: false }));
    if (isQuick(request)) {
      here();
      return;
    }
    let worker;
    try {
      this.address = URL.createObjectURL(new Blob([program()], { type: "text/javascript" }));
      worker = this.worker = new Worker(this.address);
    } catch {
      here(); // a page may forbid workers
      return;
    }
    worker.onmessage = ({ data }) => {
      this.stop();
      done(data);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.stop();
      here();
    };
    worker.postMessage(request);
  }

  stop() {
    this.worker?.terminate();
    if (this.address) URL.revokeObjectURL(this.address);
    this.address = "";
    this.worker = null;
  }
}

module.exports = { Placing };
