"""The looks of the view in the notebook, in the notebook's own colours, light or dark."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["CSS", "STILL_CSS", "heights"]

CSS = """
.tg-view { --tg-line: var(--jp-border-color2, #c8ccd1);
  --tg-text: var(--jp-ui-font-color1, #24292f);
  --tg-soft: var(--jp-ui-font-color2, #6b7178); --tg-back: var(--jp-layout-color1, transparent);
  --tg-raised: var(--jp-layout-color2, #8881); border: 1px solid var(--tg-line);
  border-radius: 6px; overflow: hidden; margin: 2px 0; }
.tg-view .custom-widget { background: transparent; resize: none; }
.tg-view .custom-widget:hover { border: none; }
.tg-view .widget-html, .tg-view .widget-html-content { color: var(--tg-text); line-height: 1.45;
  font-family: var(--jp-ui-font-family, system-ui, sans-serif); font-size: 13px; height: auto;
  margin: 0; }
.tg-head { padding: 2px 6px 2px 10px; align-items: center; background: var(--tg-raised); }
.tg-line { display: flex; flex-wrap: wrap; gap: 2px 10px; align-items: baseline; padding: 3px 0; }
.tg-line b { color: var(--tg-text); } .tg-line span { color: var(--tg-soft); }
.tg-form { padding: 4px 10px 6px; border-bottom: 1px solid var(--tg-line); }
.tg-bar { height: 3px; background: var(--tg-line); display: flex; }
.tg-bar i { display: block; height: 3px; }
.tg-inspector { padding: 8px 12px 10px; border-top: 1px solid var(--tg-line); max-height: 420px;
  overflow: auto; }
.tg-inspector h4 { margin: 10px 0 3px; font-size: 11px; font-weight: 600; color: var(--tg-soft);
  text-transform: uppercase; letter-spacing: .05em; }
.tg-title { font-size: 14px; font-weight: 600; display: flex; gap: 8px; align-items: center;
  flex-wrap: wrap; }
.tg-title small { font-weight: 400; color: var(--tg-soft); }
.tg-badge { display: inline-flex; align-items: center; gap: 5px; border-radius: 4px;
  font-size: 12px; padding: 1px 7px 1px 5px; font-weight: 500; }
.tg-inspector dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 2px 14px;
  margin: 0; }
.tg-inspector dt { color: var(--tg-soft); } .tg-inspector dd { margin: 0; min-width: 0; }
.tg-inspector pre { margin: 0; padding: 4px 8px; background: var(--tg-raised); border-radius: 4px;
  color: var(--tg-text); font-family: var(--jp-code-font-family, monospace); font-size: 12px;
  line-height: 1.4; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 220px;
  overflow: auto; }
.tg-inspector pre.tg-error { border-left: 3px solid #b34700; }
.tg-inspector .tg-said { margin: 8px 0 2px; font-weight: 600; overflow-wrap: anywhere; }
.tg-inspector .tg-why { border-left: 3px solid #8d4f7b; padding-left: 8px; }
.tg-inspector .tg-stale { border-left-color: #c77700; }
.tg-note { color: var(--tg-soft); font-size: 12px; }
.tg-inspector table.tg-table { border-collapse: collapse; font-size: 12px; width: auto; }
.tg-inspector .tg-table td, .tg-inspector .tg-table th { border: 1px solid var(--tg-line);
  padding: 1px 7px; text-align: right; font-weight: 400; color: var(--tg-text);
  background: none; } .tg-inspector .tg-table th { color: var(--tg-soft); }
.tg-picture { max-width: 100%; max-height: 260px; background: #fff; border-radius: 4px; }
.tg-inspector details { margin-top: 8px; } .tg-inspector summary { cursor: pointer;
  color: var(--tg-soft); }
.tg-stop { flex: 0 0 auto; }
"""

STILL_CSS = """
.jp-OutputArea-child:has(.tg-view) + .jp-OutputArea-child:has(.tg-still) { display: none; }
.jp-OutputArea-child:not(:has(.tg-view, [data-mime-type])):has(+ .jp-OutputArea-child .tg-still)
  { display: none; }
"""
"""The saved picture hides while the live view is there, and the empty frame of a dead live view
hides before the saved picture. Text, tables and pictures, which the pages of JupyterLab and of
nbconvert mark with their type, are never taken for such a frame."""


def heights(pixels: Mapping[int, int]) -> str:
    """Give the rules for the height of a graph by its rows.

    ipywidgets sets a layout's height after cytoscape has measured the canvas, so the first fit
    after a reload would be for another height. A class is there in time, if its rule stands in
    the still output, which the page has before it knows any widget.
    """
    rules = (
        f".custom-widget.tg-rows-{rows} {{ height: {height}px; }}"
        for rows, height in pixels.items()
    )
    return "\n".join(rules)
