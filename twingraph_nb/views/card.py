"""The card of a component or pipeline: what it is, and what may go wrong elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from twingraph_nb.component import Component, Pipeline
from twingraph_nb.policy import Policy
from twingraph_nb.source.ports import ANY, Port, type_text

__all__ = [
    "component_html",
    "component_text",
    "pipeline_html",
    "pipeline_text",
    "policy_words",
]

_DIGEST_LENGTH = 12
_DIM = "color:var(--jp-ui-font-color2,GrayText)"
_MONO = "font-family:var(--jp-code-font-family,monospace);font-size:var(--jp-code-font-size,13px)"
_BOX = (
    "border-left:3px solid {color};padding:2px 0 2px 10px;margin:2px 0;line-height:1.5;"
    "font-family:var(--jp-ui-font-family,sans-serif);font-size:var(--jp-ui-font-size1,13px);"
    "color:var(--jp-ui-font-color1,inherit)"
)
_PILL = (
    "display:inline-block;padding:0 7px;margin-right:5px;border-radius:9px;font-size:0.92em;"
    "background:rgba(128,128,128,.16)"
)
_WARNING = "color:var(--jp-warn-color0,#c77700)"
_BRAND = "var(--jp-brand-color1,#1976d2)"
_AMBER = "var(--jp-warn-color1,#f57c00)"


def component_text(made: Component, warnings: Sequence[str] = (), *, inferred: bool = False) -> str:
    """Give the card as plain text: signature, facts, one line for each warning."""
    facts = [made.platform, *policy_words(made.policy), f"v{made.version}", _digest(made.digest)]
    if inferred:
        facts.append("signature inferred from the cell")
    return _text(f"{made.name}{_ports_text(made.inputs, made.outputs)}", facts, warnings)


def pipeline_text(made: Pipeline, warnings: Sequence[str] = ()) -> str:
    """Give the card of a pipeline as plain text."""
    facts = ["pipeline", *_run_words(made), _digest(made.source.digest)]
    return _text(f"{made.name}{_ports_text(made.inputs, ())}", facts, warnings)


def component_html(made: Component, warnings: Sequence[str] = (), *, inferred: bool = False) -> str:
    """Give the card as HTML; it needs no style sheet and follows the theme of JupyterLab."""
    pills = [made.platform, *policy_words(made.policy)]
    notes = [f"v{made.version}", _digest(made.digest)]
    if inferred:
        notes.append("signature inferred from the cell")
    return _html(made.name, _ports_html(made.inputs, made.outputs), pills, notes, warnings)


def pipeline_html(made: Pipeline, warnings: Sequence[str] = ()) -> str:
    """Give the card of a pipeline as HTML."""
    pills = ["pipeline", *_run_words(made)]
    ports = _ports_html(made.inputs, ())
    return _html(made.name, ports, pills, [_digest(made.source.digest)], warnings)


_TIMES = frozenset({"timeout", "queue_timeout", "grace", "delay", "max_delay"})


def policy_words(policy: Policy) -> tuple[str, ...]:
    """Give what of a policy differs from the default, a few words each."""
    return tuple(_policy_word(key, value) for key, value in policy.changed().items())


def _policy_word(key: str, value: object) -> str:
    name = key.replace("_", " ")
    if key in _TIMES and isinstance(value, (int, float)):
        return f"{name} {_seconds(value)}"
    if key == "cache":
        return "cache" if value is True else f"cache {_seconds(float(str(value)))}"
    if key == "memory":
        return f"memory {_bytes(int(str(value)))}"
    if isinstance(value, tuple):
        return f"{name} {', '.join(map(str, value))}"
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def _run_words(made: Pipeline) -> list[str]:
    words = []
    if made.options.max_parallel:
        words.append(f"max parallel {made.options.max_parallel}")
    if made.options.timeout is not None:
        words.append(f"timeout {_seconds(made.options.timeout)}")
    if made.options.max_retries is not None:
        words.append(f"max retries {made.options.max_retries}")
    if made.options.on_error != "fail_fast":
        words.append(f"on error {made.options.on_error}")
    return words


def _seconds(value: float) -> str:
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if value >= size and value % size == 0:
            return f"{value / size:g} {unit}"
    return f"{value:g} s"


def _bytes(value: int) -> str:
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if value >= 2**power:
            return f"{value / 2**power:.4g} {unit}"
    return f"{value} B"


def _digest(digest: str) -> str:
    return digest[:_DIGEST_LENGTH]


def _default(port: Port) -> str:
    shown = repr(port.default)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."


def _port_text(port: Port) -> str:
    if port.required or port.variadic:
        return str(port)
    return f"{port}{'=' if port.type is ANY else ' = '}{_default(port)}"


def _ports_text(inputs: Sequence[Port], outputs: Sequence[Port]) -> str:
    given = ", ".join(map(_port_text, inputs))
    arrow = f" -> {', '.join(map(str, outputs))}" if outputs else ""
    return f"({given}){arrow}"


def _port_html(port: Port) -> str:
    name = escape(f"{port.variadic}{port.name}")
    kind = "" if port.type is ANY else f": {escape(type_text(port.type))}"
    default = "" if port.required or port.variadic else f" = {escape(_default(port))}"
    return f'{name}<span style="{_DIM}">{kind}{default}</span>'


def _ports_html(inputs: Sequence[Port], outputs: Sequence[Port]) -> str:
    given = ", ".join(map(_port_html, inputs))
    arrow = f" &rarr; {', '.join(map(_port_html, outputs))}" if outputs else ""
    return f"({given}){arrow}"


def _text(head: str, facts: Sequence[str], warnings: Sequence[str]) -> str:
    return "\n".join([head, f"  {' | '.join(facts)}", *(f"  ! {one}" for one in warnings)])


def _html(
    name: str, ports: str, pills: Sequence[str], notes: Sequence[str], warnings: Sequence[str]
) -> str:
    box = _BOX.format(color=_AMBER if warnings else _BRAND)
    shown = "".join(f'<span style="{_PILL}">{escape(one)}</span>' for one in pills)
    quiet = escape(" · ".join(notes))
    told = "".join(
        f'<div style="{_WARNING}"><span aria-hidden="true">&#9888;</span> {_code(one)}</div>'
        for one in warnings
    )
    return (
        f'<div class="twingraph-card" style="{box}">'
        f'<div style="{_MONO}"><b>{escape(name)}</b>{ports}</div>'
        f'<div>{shown}<span style="{_DIM}">{quiet}</span></div>{told}</div>'
    )


def _code(text: str) -> str:
    """Escape a sentence and set what stands between backticks as code."""
    parts = escape(text, quote=False).split("`")
    if len(parts) % 2 == 0:
        return "`".join(parts)
    return "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))
