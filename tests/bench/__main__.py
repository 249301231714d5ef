"""``python -m tests.bench [name ...]``: the table of speeds, with the event log on."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator

from tests.bench.harness import Row, shown

BENCHES = {
    "tasks": (
        "chains", "fans", "helpers", "huge_fan", "sync_fans", "lattices", "naps", "arrays",
        "memory",
    ),
    "durable": ("recording", "resumes", "controls", "idling"),
    "maps": ("million",),
    "lineage": ("projecting", "rebuilding", "asking", "serving"),
    "remote_lineage": ("sending", "filling"),
    "containers": ("containers",),
    "kubernetes": ("pods",),
    "languages": ("natives", "bulk"),
    "clusters": ("celery", "dask"),
    "processes": ("process_fans", "process_arrays"),
    "starts": ("imports", "load_ext", "notebooks", "views"),
}  # fmt: skip


def chosen(names: list[str]) -> Iterator[Callable[[], Iterator[Row]]]:
    """The benches asked for, all without a name."""
    for module, benches in BENCHES.items():
        for bench in benches:
            if not names or bench in names or module in names:
                loaded = __import__(f"tests.bench.{module}", fromlist=[bench])
                yield getattr(loaded, bench)


def main() -> None:
    known = sorted({*BENCHES, *(bench for benches in BENCHES.values() for bench in benches)})
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"some of: {', '.join(known)}")
    names = parser.parse_args().names
    strangers = set(names) - set(known)
    if strangers:
        parser.error(f"no bench is called {', '.join(sorted(strangers))}")
    rows = []
    with tempfile.TemporaryDirectory() as home:
        os.environ["TWINGRAPH_HOME"] = home
        for bench in chosen(names):
            print(f"{bench.__name__} ...", file=sys.stderr, flush=True)
            rows += bench()
        session = sys.modules.get("twingraph_nb.session")
        if session is not None:
            session.close_session()
    print(shown(rows))


if __name__ == "__main__":
    main()
