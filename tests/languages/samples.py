"""Components in other languages for the tests of this folder."""

from __future__ import annotations

from twingraph_nb import component
from twingraph_nb.component import Component
from twingraph_nb.graph.task import Task

LANGUAGES = ("javascript", "typescript", "bash", "c++", "rust")

PORTS = {
    "i": "int",
    "f": "float",
    "b": "bool",
    "s": "str",
    "y": "bytes",
    "n": "None",
    "o": "str | None",
    "l": "list[float]",
    "m": "dict[str, int]",
    "t": "tuple[int, str]",
    "d": "list[dict[str, list[int]]]",
}
"""A port of every type."""
ECHO = {
    "javascript": "const echo = (...given) => given;",
    "typescript": "function echo(...given: unknown[]): unknown[] { return given; }",
    "bash": "\n".join(
        [
            *(f'o{name}="${name}"' for name in "ifbsy"),
            '[[ ! -v o ]] || oo="$o"',
            'ol=("${l[@]}"); ot=("${t[@]}"); od=("${d[@]}")',
            'for key in "${!m[@]}"; do om["$key"]=${m["$key"]}; done',
        ]
    ),
    "c++": """
using L = std::vector<double>;
using M = std::map<std::string, std::int64_t>;
using D = std::vector<std::map<std::string, std::vector<std::int64_t>>>;
auto echo(std::int64_t i, double f, bool b, const std::string &s,
          const std::vector<std::uint8_t> &y, std::nullptr_t n,
          const std::optional<std::string> &o, const L &l, M m,
          std::tuple<std::int64_t, std::string> t, const D &d) {
  return std::make_tuple(i, f, b, s, y, n, o, l, m, t, d);
}""",
    "rust": """
use std::collections::BTreeMap;
fn echo(i: i64, f: f64, b: bool, s: &str, y: &[u8], n: (), o: Option<String>, l: &[f64],
        m: std::collections::HashMap<String, i64>, t: (i64, String),
        d: Vec<BTreeMap<String, Vec<i64>>>)
    -> (i64, f64, bool, String, Vec<u8>, (), Option<String>, Vec<f64>,
        std::collections::HashMap<String, i64>, (i64, String), Vec<BTreeMap<String, Vec<i64>>>) {
    (i, f, b, s.to_string(), y.to_vec(), n, o, l.to_vec(), m, t, d)
}""",
}
"""In each language a function that gives back what it gets."""


def made(language: str, signature: str, code: str, **options: object) -> Component:
    """A component, as users make it in Python."""
    return component(language=language, signature=signature, code=code, **options)  # type: ignore


def called(language: str, signature: str, code: str, *args: object, **options: object) -> object:
    """The result of one call of such a component."""
    return run(made(language, signature, code, **options), *args).result(60)


def run(one: Component, *args: object) -> Task:
    task = one(*args)
    assert isinstance(task, Task)
    return task


def echo(language: str) -> Component:
    inputs = ", ".join(f"{name}: {kind}" for name, kind in PORTS.items())
    outputs = ", ".join(f"o{name}: {kind}" for name, kind in PORTS.items())
    return made(language, f"echo({inputs}) -> {outputs}", ECHO[language])
