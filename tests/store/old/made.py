"""Makes a home with some runs, for the next version to read: `python made.py FOLDER SCHEMA`.

Run it before the schema goes up, and keep ``schema-N.tar.gz``: tests/store/test_schema.py reads
all of them. It uses only what every version has had.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sys
import tarfile
from pathlib import Path


def main(folder: Path, schema: int) -> None:
    home = folder / "home"
    os.environ["TWINGRAPH_HOME"] = str(home)
    from twingraph_nb import component, pipeline
    from twingraph_nb.session import close_session

    @component(cache=True)
    def load(n: int) -> list:
        print("loading", n)
        return list(range(n))

    @component(cache=True)
    def square(x: int) -> int:
        return x * x

    @component()
    def fails(x: int) -> int:
        raise ValueError(f"cannot do {x}")

    @pipeline()
    def squares(n: int = 3):
        return square.map(load(n))

    @pipeline(on_error="continue")
    def broken(n: int = 1):
        return [fails(n), square(n)]

    print(squares().result(60), squares().result(60))
    with contextlib.suppress(ValueError):
        broken().result(60)
    close_session()
    with contextlib.closing(sqlite3.connect(home / "twingraph.db")) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (schema,)
        file.execute("VACUUM")
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with tarfile.open(folder / f"schema-{schema}.tar.gz", "w:gz") as archive:
        archive.add(home / "twingraph.db", "twingraph.db")
        archive.add(home / "blobs", "blobs")
    shutil.rmtree(home)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
