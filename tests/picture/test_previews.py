"""Previews of values."""

from __future__ import annotations

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from twingraph_nb.picture.previews import html_preview


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __len__(self) -> int:
        raise RuntimeError("no")


class HostileList(list):  # type: ignore[type-arg]
    def __len__(self) -> int:
        raise RuntimeError("no")


def test_a_table_shows_its_head_and_its_size() -> None:
    frame = pd.DataFrame({"city": ["Oslo", "<b>Rome</b>"] * 50, "people": range(100)})
    html = html_preview(frame)
    assert "100 rows x 2 columns" in html
    assert html.count("<tr>") == 7
    assert "&lt;b&gt;Rome&lt;/b&gt;" in html


def test_an_array_shows_shape_kind_and_first_values() -> None:
    html = html_preview(np.arange(1_000_000.0).reshape(1000, 1000))
    assert "ndarray, 1,000 x 1,000, float64" in html
    assert "[0.0, 1.0, 2.0" in html
    assert len(html) < 1_000


def test_figures_and_pictures_are_drawn() -> None:
    figure = matplotlib.figure.Figure()
    figure.add_subplot().plot([1, 2, 3])
    for value in (figure, Image.new("RGB", (20, 10), "red")):
        assert "data:image/png;base64," in html_preview(value)


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10**6,
        list(range(10**5)),
        dict.fromkeys(range(1000), "y" * 1000),
        b"\0" * 10**6,
        pd.DataFrame(np.zeros((3, 2000))),
        pd.Series(["z" * 10**5] * 50),
    ],
    ids=["text", "list", "dict", "bytes", "wide", "series"],
)
def test_a_preview_is_small(value: object) -> None:
    assert len(html_preview(value)) < 8_000


@pytest.mark.parametrize("value", [Hostile(), HostileList(), type, None, ..., {"a": Hostile()}])
def test_a_preview_never_raises(value: object) -> None:
    assert html_preview(value)


def test_a_text_is_escaped() -> None:
    assert "<script" not in html_preview("<script>alert(1)</script>")
