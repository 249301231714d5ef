"""The JavaScript of the explorer as the one module that a notebook's page loads.

There is no build: the files of `page/` and `vendor/` are CommonJS modules, and here they are put
side by side, each in a function, below a `require` of a few lines. What is in the repository is
what runs, in an editable install too.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from typing import Final

__all__ = ["module", "stylesheet"]

_VENDORED: Final = {
    "cytoscape": "cytoscape.min.js",
    "dagre": "dagre.min.js",
    "d3-force": "d3-force.min.js",
    "d3-quadtree": "d3-quadtree.min.js",
    "d3-dispatch": "d3-dispatch.min.js",
    "d3-timer": "d3-timer.min.js",
}
_TAILS: Final = {"dagre": "module.exports = dagre;"}
"""For a library that only sets a variable."""

_REQUIRE: Final = """\
function require(name) {
  if (!(name in made)) {
    const module = (made[name] = { exports: {} });
    modules[name](module, module.exports, require);
  }
  return made[name].exports;
}
"""
_MAIN: Final = "./explorer.js"


@lru_cache(maxsize=1)
def module() -> str:
    """Give the text of an ECMAScript module whose default export anywidget renders.

    Each of its modules gets `modules`, the table of all, so that a worker can be given some.
    """
    parts = [
        f"{json.dumps(name)}: function (module, exports, require) {{\n{text}\n}},\n"
        for name, text in _texts().items()
    ]
    return (
        f"const made = {{}};\nconst modules = {{\n{''.join(parts)}}};\n{_REQUIRE}"
        f'modules["modules"] = (module) => {{ module.exports = modules; }};\n'
        f"export default require({json.dumps(_MAIN)});\n"
    )


@lru_cache(maxsize=1)
def stylesheet() -> str:
    """Give the explorer's CSS."""
    return (files(__package__) / "page" / "explorer.css").read_text(encoding="utf-8")


def _texts() -> dict[str, str]:
    """Name of a module, as others require it -> its text."""
    home = files(__package__)
    found = {}
    for name, file in _VENDORED.items():
        text = (home / "vendor" / file).read_text(encoding="utf-8")
        found[name] = f"{text}\n{_TAILS.get(name, '')}"
    for each in sorted((home / "page").iterdir(), key=lambda one: one.name):
        if each.name.endswith(".js"):
            found[f"./{each.name}"] = each.read_text(encoding="utf-8")
    return found
