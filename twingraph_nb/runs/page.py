"""The frame of the HTML report: style, script and small pieces. Text becomes HTML only here."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from html import escape
from typing import Final

from twingraph_nb.picture.palette import icon_svg, look_of

__all__ = ["Html", "chip", "code_lines", "details", "dot", "page", "pill", "table", "when"]

Html = str
"""Text that is HTML already; everything else goes through `html.escape` first."""

_RUN_LOOKS: Final[Mapping[str, str]] = {"interrupted": "cancelled"}

STYLE: Final = """
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#1c2127;--soft:#5b6470;
--line:#dfe3e8;--accent:#0b63a5;--code:#f3f5f7;--bad:#a63b00;--badbg:#fff4ec;--hit:#fff0c2}
@media (prefers-color-scheme:dark){:root{--bg:#14171b;--card:#1c2025;--ink:#e6e9ed;--soft:#a0a8b3;
--line:#333a43;--accent:#6db5ec;--code:#15181c;--bad:#ffab7a;--badbg:#2c1e15;--hit:#4a3a10}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,
"Segoe UI","Helvetica Neue",Arial,sans-serif}
main{max-width:1180px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:28px;line-height:1.2;margin:0;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:20px;margin:0;overflow-wrap:anywhere}
h3{font-size:13px;margin:22px 0 8px;color:var(--soft);text-transform:uppercase;letter-spacing:.06em}
.row{display:flex;gap:10px 14px;align-items:center;flex-wrap:wrap}
.soft{color:var(--soft)}.small{font-size:13px}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:20px 22px;
margin-top:18px}
.pill{display:inline-flex;gap:6px;align-items:center;border-radius:99px;padding:2px 11px 2px 8px;
font-size:13px;font-weight:600;white-space:nowrap;border:1px solid}
.pill svg{flex:none}
.dot{display:inline-flex;padding:2px;border-radius:4px;margin-right:6px;vertical-align:-3px}
.chip{display:inline-block;background:var(--code);border:1px solid var(--line);border-radius:7px;
padding:1px 9px;font:13px/1.6 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;
overflow-wrap:anywhere}
.tiles{display:flex;flex-wrap:wrap;gap:10px;margin-top:18px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:10px 14px;
flex:1 1 auto}
.tile b{display:block;font-size:20px;white-space:nowrap;line-height:1.25;
font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:13px}
.scroll{overflow:auto;max-height:640px;border:1px solid var(--line);border-radius:9px;padding:6px}
.scroll>svg{display:block}
.fitted>svg{max-width:100%;min-width:calc(var(--wide)*.5);height:auto}
.pics{display:flex;flex-wrap:wrap;gap:14px}
.pics img{max-width:100%;height:auto;border-radius:9px;border:1px solid var(--line);background:#fff}
table{border-collapse:collapse;width:100%;font-size:13.5px}
th,td{text-align:left;padding:6px 10px;border-bottom:1px solid var(--line);vertical-align:top}
th{position:sticky;top:0;background:var(--card);color:var(--soft);font-weight:600;
white-space:nowrap;z-index:1}
th button{all:unset;cursor:pointer}th button:focus-visible{outline:2px solid var(--accent)}
th[aria-sort=ascending] button::after{content:" \\2191"}
th[aria-sort=descending] button::after{content:" \\2193"}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.t{font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere;
max-width:330px}
tr:last-child td{border-bottom:0}
.scroll.tab{padding:0}
input.find{font:inherit;font-size:13px;padding:4px 10px;border:1px solid var(--line);
border-radius:8px;background:var(--bg);color:var(--ink);width:220px}
.bar{height:9px;border-radius:5px;background:var(--accent);min-width:2px}
.bar.bad{background:var(--bad)}
td.b{width:34%;vertical-align:middle}
pre{margin:8px 0 0;background:var(--code);border:1px solid var(--line);border-radius:9px;
padding:10px 12px;overflow:auto;max-height:420px;
font:12.5px/1.55 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre .hit{background:var(--hit);display:inline-block;min-width:100%}
.bad{border-color:var(--bad);background:var(--badbg)}.bad h2{color:var(--bad)}
.msg{font-weight:600;overflow-wrap:anywhere;white-space:pre-wrap;margin:6px 0 0}
details{margin-top:8px}summary{cursor:pointer;color:var(--accent);overflow-wrap:anywhere}
.tl text{font:11px system-ui,-apple-system,"Segoe UI",Arial,sans-serif;fill:var(--ink)}
.tl .ax{fill:var(--soft)}.tl line{stroke:var(--line)}.tl rect:hover,.tl path:hover{opacity:.7}
footer{margin-top:28px;color:var(--soft);font-size:13px}
"""

SCRIPT: Final = """
for (const table of document.querySelectorAll("table.sort")) {
  const body = table.tBodies[0];
  table.querySelectorAll("th").forEach((th, column) => {
    const button = document.createElement("button");
    button.textContent = th.textContent;
    th.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = th.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      th.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
      const rows = [...body.rows].sort((a, b) =>
        value(a).localeCompare(value(b), undefined, {numeric: true}));
      body.append(...(up ? rows : rows.reverse()));
    });
  });
}
for (const find of document.querySelectorAll("input.find")) {
  const body = document.getElementById(find.dataset.table).tBodies[0];
  find.hidden = false;
  find.addEventListener("input", () => {
    const wanted = find.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}
"""


def page(title: str, body: Iterable[Html]) -> Html:
    """Give the whole document; nothing in it is loaded from anywhere."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"{''.join(body)}</main><script>{SCRIPT}</script></body></html>\n"
    )


def pill(state: str) -> Html:
    """Give a state as a coloured pill: icon and word, so that colour alone says nothing."""
    look = look_of(_RUN_LOOKS.get(state, state))
    icon = icon_svg(_RUN_LOOKS.get(state, state), size=13)
    return (
        f'<span class="pill" style="background:{look.fill};color:{look.text};'
        f'border-color:{look.border}">{icon}{escape(state)}</span>'
    )


def dot(state: str) -> Html:
    """Give a state's icon on its colour, small enough for a line of text."""
    look = look_of(state)
    return f'<span class="dot" style="background:{look.fill}">{icon_svg(state, size=11)}</span>'


def chip(text: str) -> Html:
    """Give a short piece of code."""
    return f'<span class="chip">{escape(text)}</span>'


def details(summary: Html, body: Html, *, opened: bool = False) -> Html:
    """Give something that opens with a click; both parts are HTML."""
    return f"<details{' open' * opened}><summary>{summary}</summary>{body}</details>"


def code_lines(lines: Iterable[str], hit: str = "  >") -> Html:
    """Give source lines, those that begin with `hit` marked."""
    shown = (
        f'<span class="hit">{escape(line)}</span>' if line.startswith(hit) else escape(line)
        for line in lines
    )
    return f"<pre>{chr(10).join(shown)}</pre>"


def table(heads: Iterable[tuple[str, str]], rows: Iterable[Html], *, name: str) -> Html:
    """Give a table that can be sorted and searched; heads are (text, class)."""
    head = "".join(f'<th class="{kind}">{escape(text)}</th>' for text, kind in heads)
    return (
        f'<div class="scroll tab"><table class="sort" id="{escape(name)}"><thead><tr>{head}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def when(at: float | None) -> str:
    """Give a time as local date and time with the zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(at)) if at else ""
