"""A process whose run asks people; `asking.py WHAT`, and `TRACE` takes what was done once."""

from __future__ import annotations

import os
import sys

from twingraph_nb import ask, async_component, component, pipeline

TRACE = os.environ["TRACE"]


@component(cache=True)
def train(trace: str) -> float:
    with open(trace, "a") as file:
        file.write("trained\n")
    return 0.93


@component
def review(score: float) -> str:
    return str(ask(f"What do you think of {score}?", kind="text", name="opinion"))


@component
def deploy(score: float, ok: bool, trace: str) -> str:
    with open(trace, "a") as file:
        file.write("deployed\n")
    return f"deployed {score}" if ok else "kept back"


@pipeline
def release():
    score = train(TRACE)
    ok = ask("Deploy?", name="go", parent_hash=score)
    return deploy(score, ok, TRACE), review(score)


@async_component
async def checked(item: int) -> int:
    default = {"default": True} if item == 0 else {}
    assert await ask(f"Is {item} right?", timeout=0.1, **default) is True
    return item


@pipeline(on_error="continue")
def hurried():
    return checked.map([0, 1])


@pipeline(max_parallel=1)
def many():
    size = ask("Size?", kind="choice", options=[8, 16], name="size")
    tags = ask("Tags?", kind="multi", options=["a", "b", "c"], name="tags")
    form = {"rate": float, "mode": ["fast", "slow"], "dry": bool}
    return size, tags, ask("Settings?", kind="form", fields=form, name="form"), train(TRACE)


if __name__ == "__main__":
    what = sys.argv[1]
    run = {"release": release, "hurried": hurried, "many": many}[what]()
    try:
        print(run.result())
    except Exception as exc:
        print(f"{type(exc).__name__}: {exc}")
    print(run.state)
