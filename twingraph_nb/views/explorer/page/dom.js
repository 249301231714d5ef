"use strict";
/* Elements of the page. Values are only ever set as text: nothing here reads HTML. */

const SVG = "http://www.w3.org/2000/svg";

/** Make an element. `given`: `on` holds listeners, `class` and others are attributes. */
function make(tag, given = {}, ...children) {
  return filled(document.createElement(tag), given, children);
}

/** Make an element of SVG. */
function draw(tag, given = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), given, children);
}

function filled(element, given, children) {
  for (const [name, value] of Object.entries(given)) {
    if (name === "on") {
      for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A menu with a name. `options`: pairs of value and text. */
function menu(name, options, chosen, act) {
  const select = make(
    "select",
    { "aria-label": name, title: name, on: { change: () => act(select.value) } },
    options.map(([value, text]) => make("option", { value }, text)),
  );
  select.value = chosen;
  return select;
}

/** A button; `pressed` makes it one that stays in. */
function button(text, title, act, pressed) {
  const given = { type: "button", title, "aria-label": title, on: { click: act } };
  if (pressed !== undefined) given["aria-pressed"] = String(pressed);
  return make("button", given, text);
}

module.exports = { button, draw, make, menu };
