"use strict";
/* The controls above the drawing: they set the widget's traits and show what those say. */

const { button, make, menu } = require("./dom.js");
const { FORMATS } = require("./exporting.js");
const { counted, properties } = require("./model.js");
const { SAID } = require("./keys.js");

const LAYOUTS = [["layered", "Layered"], ["force", "Force"], ["circular", "Circular"], ["grid", "Grid"]];
const COLOURS = [["status", "Status"], ["type", "Type"], ["platform", "Platform"], ["community", "Community"]];
const SIZES = [["same", "Same"], ["degree", "Degree"], ["pagerank", "PageRank"]];
const LABELS = [["name", "Name"], ["hash", "Hash"], ["none", "None"]];
const KINDS = { type: "Types", state: "States", platform: "Platforms" };

class Toolbar {
  /** `act`: set(trait, value), save(format), fit(), numbers(), search text by set("search"). */
  constructor(graph, model, act) {
    this.graph = graph;
    this.model = model;
    this.act = act;
    const labels = [...LABELS, ...properties(graph).map((name) => [name, name])];
    this.menus = {
      arrangement: this.menu("Layout", "arrangement", LAYOUTS),
      color_by: this.menu("Colour", "color_by", COLOURS),
      size_by: this.menu("Size", "size_by", SIZES),
      label_by: this.menu("Label", "label_by", labels),
    };
    this.search = make("input", {
      type: "search",
      placeholder: "Search  ( / )",
      "aria-label": "Search all properties",
      title: 'Words that must all occur in a property; state:failed or "two words"',
      on: { input: () => act.set("search", this.search.value) },
    });
    this.filters = make("div", { class: "tg-x-filters" });
    this.filters.hidden = true;
    this.opener = button("Filter", "Choose types, states and platforms", () => this.open(), false);
    this.numbers = button("Statistics", "Numbers of what is shown", act.numbers, false);
    const formats = Object.entries(FORMATS).map(([format, { name }]) => [format, name]);
    this.export = menu("Export", [["", "Export"], ...formats], "", (format) => {
      this.export.value = "";
      if (format) act.save(format);
    });
    this.home = make(
      "div",
      { class: "tg-x-bar", role: "toolbar", "aria-label": "Graph explorer" },
      this.search,
      Object.entries(this.menus).map(([, each]) => each.home),
      this.opener,
      this.numbers,
      this.export,
      make(
        "span",
        { class: "tg-x-zoom" },
        button("−", "Zoom out ( - )", () => act.zoom(1 / 1.3)),
        button("+", "Zoom in ( + )", () => act.zoom(1.3)),
        button("Fit", "Fit into view ( f )", act.fit),
        button("?", SAID, () => act.say(SAID)),
      ),
    );
    this.refresh();
  }

  menu(name, trait, options) {
    const select = menu(name, options, this.model.get(trait), (value) => this.act.set(trait, value));
    return { select, home: make("label", {}, make("span", {}, name), select) };
  }

  /** Show what the traits say. */
  refresh() {
    for (const [trait, { select }] of Object.entries(this.menus)) {
      select.value = this.model.get(trait);
    }
    const text = this.model.get("search");
    if (this.search.value !== text) this.search.value = text;
    this.listFilters();
  }

  open(to = this.filters.hidden) {
    this.filters.hidden = !to;
    this.opener.setAttribute("aria-pressed", String(to));
  }

  listFilters() {
    const hidden = this.model.get("hidden");
    const off = Object.values(hidden).reduce((sum, values) => sum + values.length, 0);
    this.opener.textContent = off ? `Filter (${off} off)` : "Filter";
    const focus = document.activeElement?.dataset?.filter;
    this.filters.replaceChildren(
      ...Object.entries(KINDS).flatMap(([kind, title]) => {
        const values = counted(this.graph, kind);
        return values.length ? [this.group(kind, title, values, hidden[kind] || [])] : [];
      }),
    );
    for (const box of this.filters.querySelectorAll("input")) {
      if (focus && box.dataset.filter === focus) box.focus();
    }
  }

  group(kind, title, values, hidden) {
    const set = (list) => this.act.set("hidden", { ...this.model.get("hidden"), [kind]: list });
    const boxes = values.map(([value, count]) => {
      const box = make("input", {
        type: "checkbox",
        "data-filter": `${kind} ${value}`,
        on: {
          change: () =>
            set(box.checked ? hidden.filter((each) => each !== value) : [...hidden, value]),
        },
      });
      box.checked = !hidden.includes(value);
      return make("label", {}, box, make("span", {}, value), make("small", {}, String(count)));
    });
    const all = button("all", `Show all ${title.toLowerCase()}`, () => set([]));
    const none = button("none", `Hide all ${title.toLowerCase()}`, () => set(values.map(([v]) => v)));
    const name = make("legend", {}, title);
    return make("fieldset", {}, name, make("span", { class: "tg-x-all" }, all, none), boxes);
  }
}

module.exports = { Toolbar };
