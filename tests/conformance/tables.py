"""Values of the libraries that a far side may have: for the component that gets and gives them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pydantic


class Model(pydantic.BaseModel):
    rate: float
    inner: Model | None = None


VALUES: dict[str, object] = {
    "arrays": [
        np.arange(6.0).reshape(2, 3),
        np.zeros((0, 3), "i2"),
        {"deep": (np.array(["a", "bcd"]), np.array(["2020-01-01", "NaT"], "M8[ns]"))},
    ],
    "scalars": [np.float32(1.5), np.int8(3), np.bool_(True), np.datetime64("2020-01-01")],
    "models": [Model(rate=1.5, inner=Model(rate=2.0))],
    "frame": {
        "deep": [
            pd.DataFrame(
                {
                    "n": [1, None],
                    "text": ["a", "ü"],
                    "zoned": pd.to_datetime(["2020", None]).tz_localize("Europe/Berlin"),
                },
                index=pd.Index([3, 4], name="row"),
            )
        ]
    },
    "series": pd.Series([1, 2], index=["a", "b"], name="s"),
    "table": pa.table({"a": [1, None], "b": [[1], []]}),
}


def seen(values: dict[str, object]) -> tuple[dict[str, object], dict[str, str]]:
    """The values, and what they look like there."""
    return values, {name: repr(value) for name, value in values.items()}
