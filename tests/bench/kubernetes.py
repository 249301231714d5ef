"""What a task on a cluster costs: in a warm pod, against a Job of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

from tests.bench.harness import Row, compared
from tests.services.base import ensure
from twingraph_nb import component

__all__ = ["pods"]

CALLS = 100
RUNS = 3
LARGE = 20 << 20  # bytes


def same(x: object) -> object:
    return x


def pods() -> Iterator[Row]:
    """One call after the other through the session, the event log on."""
    address = ensure("kubernetes")
    options = {
        "platform": "kubernetes",
        "image": address["image"],
        "image_pull_policy": "IfNotPresent",
        "kubeconfig": address["kubeconfig"],
    }
    warm = component(**options, warm=True)(same)  # type: ignore[arg-type]
    cold = component(**options)(same)  # type: ignore[arg-type]
    ours, job = compared(
        lambda: [warm(n).result() for n in range(CALLS)],
        lambda: cold(1).result(),
        RUNS,
    )
    job *= CALLS
    yield Row("Kubernetes no-op, warm", ours, job, CALLS, "ms", at_most=0.01, note="a Job")
    many, one = compared(
        lambda: [each.result() for each in [cold(n) for n in range(5)]],
        lambda: cold(1).result(),
        RUNS,
    )
    yield Row("5 Jobs at once", many, one, unit="ms", note="one Job")
    data = os.urandom(LARGE)
    bulk, little = compared(lambda: warm(data).result(), lambda: warm(b"").result(), RUNS)
    yield Row("20 MiB to a pod and back", bulk, little, unit="ms", note="an empty one")
