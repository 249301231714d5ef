"""Kept values as files that are named after their content."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from twingraph_nb.errors import StoreError

__all__ = ["Blobs", "DamagedBlob"]

Part = bytes | bytearray | memoryview | mmap.mmap
_FEW = 5  # questions about a subfolder until it is listed
_FRESH = 10.0  # seconds that lists count
YOUNG_SECONDS = 3600.0  # a file this young may belong to a result that is being written just now


class DamagedBlob(StoreError):
    """The file of a kept value is missing or is not what was written."""

    def __init__(self, blob: str, why: str) -> None:
        self.blob = blob
        super().__init__(
            f"kept value {blob[:12]} {why}; it is forgotten, and the task that made it runs again"
        )


class Blobs:
    """A folder of values: ``ab/abcdef...``, each named by the sha256 of its bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._text = folder, str(folder)
        self._there: set[str] = set()  # all of the subfolders that were listed
        self._asked: dict[str, int] = {}  # questions that needed a look, by subfolder
        self._until = 0.0  # when both are forgotten

    def path(self, blob: str) -> Path:
        """Give where a blob is, or would be."""
        return self.folder / blob[:2] / blob

    def put(self, parts: Sequence[Part]) -> str:
        """Write the bytes of a value, unless they are there already; gives the blob's name.

        A reader never sees half a file, even if this process is killed while it writes.

        Raises:
            OSError: it cannot be written.
        """
        found = hashlib.sha256()
        for part in parts:
            found.update(part)
        blob = found.hexdigest()
        path = self.path(blob)
        try:
            os.utime(path)  # young again, so that no clean-up takes it from under us
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(path, parts)
        return blob

    def get(self, blob: str) -> bytearray:
        """Give the bytes; writable, so that arrays in them are too.

        Raises:
            DamagedBlob: the file is missing, or its bytes are not those that were written.
            OSError: it cannot be read.
        """
        try:
            with open(f"{self.folder}/{blob[:2]}/{blob}", "rb", buffering=0) as file:
                content = bytearray(os.fstat(file.fileno()).st_size)
                view, at = memoryview(content), 0
                while at < len(content) and (got := file.readinto(view[at:])):
                    at += got
        except FileNotFoundError:
            raise DamagedBlob(blob, "is missing from the store") from None
        if hashlib.sha256(content).hexdigest() != blob:
            raise DamagedBlob(blob, "is damaged on disk")
        return content

    def has(self, blobs: Collection[str]) -> bool:
        """True when each of them is there.

        Many questions about one subfolder in a short time are answered by one list of it: a sound
        value may be removed by another process at any time anyway.
        """
        now = time.monotonic()
        if now >= self._until:
            self._there, self._asked, self._until = set(), {}, now + _FRESH
        return self._there.issuperset(blobs) or all(map(self._look, blobs))

    def _look(self, blob: str) -> bool:
        part = blob[:2]
        asked = self._asked[part] = self._asked.get(part, 0) + 1
        if asked == _FEW:
            with contextlib.suppress(FileNotFoundError):
                self._there.update(os.listdir(f"{self._text}/{part}"))
        return blob in self._there or os.path.exists(f"{self._text}/{part}/{blob}")

    def size(self, blob: str) -> int:
        """Give its bytes; 0 if it is not there."""
        try:
            return self.path(blob).stat().st_size
        except FileNotFoundError:
            return 0

    def remove(self, blob: str) -> None:
        """Take the file away; nothing happens if it is gone already."""
        with contextlib.suppress(FileNotFoundError):
            self._there.discard(blob)
            self.path(blob).unlink()

    def unreferenced(self, wanted: frozenset[str]) -> Iterator[tuple[Path, int]]:
        """Give the files that no result names, with their bytes; and what killed writers left."""
        before = time.time() - YOUNG_SECONDS
        for path in self.folder.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                if path.name not in wanted and status.st_mtime < before:
                    yield path, status.st_size


def _write(path: Path, parts: Sequence[Part]) -> None:
    handle, draft = tempfile.mkstemp(prefix=".draft-", dir=path.parent)
    try:
        with open(handle, "wb", buffering=0) as file:
            for part in parts:
                view = memoryview(part).cast("B")
                while view:
                    view = view[file.write(view) :]
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
        raise
