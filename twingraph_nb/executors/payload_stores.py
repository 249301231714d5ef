"""Places for payloads that `payloads=` names: a folder that is mounted there too, or a URL.

Each session has a folder of its own below ``twingraph/``, called after its kernel's process. It
is removed with the session; one whose kernel is gone is removed by the next session there.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from twingraph_nb.component import Component
from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.owner import is_orphan, owner_label
from twingraph_nb.executors.payloads import Payloads, Store
from twingraph_nb.wire import Buffer

__all__ = ["FOLDER", "FolderStore", "Stores", "UrlStore"]

FOLDER = "twingraph"
"""What all sessions' folders are in."""
_EXPIRES = 7 * 24 * 3600  # seconds a URL is good
_FORGOTTEN = 2 * _EXPIRES  # seconds after which nothing needs a folder: of a machine that is gone
_OFF = ("", "off", "none")
_BETWEEN = re.compile(r":(?=/)")


class FolderStore:
    """A folder of this machine, which the far side has mounted.

    there: where it is mounted, "" for the same path. folder: of this session. apart: only this
    session's folder is mounted, at `there`, so that nobody else on this machine need enter it.
    spare: seconds for which the folder of a kernel that is gone is left alone.
    """

    def __init__(
        self, base: Path, there: str = "", *, apart: bool = False, spare: float = 0.0
    ) -> None:
        self._base, self._spare, self._apart = base, spare, apart
        within = Path(FOLDER, owner_label(), secrets.token_hex(6))
        self.folder = base / within
        self._there = there if apart else str(Path(there or base) / within)

    @property
    def mounts(self) -> Mapping[str, str]:
        """What a container must be given to see it, as a container's volumes are written."""
        return {str(self.folder): f"{self._there}:ro"} if self._apart else {}

    def open(self) -> None:
        if not self._base.is_dir():
            raise ExecutorError(
                f"the folder {str(self._base)!r} that payloads= names is not there: create it, "
                "mount it, or name another"
            )
        with self._writing():
            self._sweep()
            self._make()
            self.folder.chmod(0o755)  # whatever the umask: a task may be another user

    def put(self, digest: str, content: Buffer) -> None:
        path = self.folder / digest
        draft = self.folder / f".{digest}.{secrets.token_hex(4)}"
        with self._writing():
            draft.write_bytes(content)
            draft.chmod(0o444)
            draft.replace(path)

    def where(self, digest: str) -> str:
        return self._there

    def remove(self, digests: Sequence[str]) -> None:
        with self._writing():
            for digest in digests:
                (self.folder / digest).unlink(missing_ok=True)

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for empty in (self.folder.parent, self._base / FOLDER):
            with contextlib.suppress(OSError):  # another session's is in it
                empty.rmdir()

    def _sweep(self) -> None:
        for one in (self._base / FOLDER).glob("*"):
            with contextlib.suppress(FileNotFoundError):  # another session was quicker
                age = time.time() - max(path.stat().st_mtime for path in (one, *one.glob("*")))
                if age > _FORGOTTEN or (is_orphan(one.name) and age >= self._spare):
                    shutil.rmtree(one, ignore_errors=True)

    def _make(self) -> None:
        for last in (False, False, True):
            try:
                mode = 0o700 if self._apart else 0o755
                self.folder.parent.mkdir(mode, parents=True, exist_ok=True)
                self.folder.mkdir()
                return
            except FileNotFoundError:  # a session that ends has just removed an empty one
                if last:
                    raise

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise ExecutorError(
                f"the folder {str(self._base)!r} that payloads= names cannot be used "
                f"({exc.strerror}): it must be a folder that you may write to, with room"
            ) from exc


class UrlStore:
    """A place that fsspec knows, whose objects can be read by signed URLs."""

    def __init__(self, url: str, *, spare: float = 0.0) -> None:
        self._url, self._spare = url, spare
        self._fs: Any = None
        self._base = self.folder = ""
        self._signed: dict[str, tuple[float, str]] = {}

    def open(self) -> None:
        self._fs, root = _file_system(self._url)
        self._base = f"{root.rstrip('/')}/{FOLDER}"
        self.folder = f"{self._base}/{owner_label()}/{secrets.token_hex(6)}"
        with self._using("use"):
            self._sweep()
            self._fs.makedirs(self.folder, exist_ok=True)
        self.where("0" * 64)  # before anything is stored that nobody could fetch

    def put(self, digest: str, content: Buffer) -> None:
        with self._using("write to"):
            self._fs.pipe_file(f"{self.folder}/{digest}", bytes(content))

    def where(self, digest: str) -> str:
        made, url = self._signed.get(digest, (0.0, ""))
        if time.time() - made < _EXPIRES / 2:
            return url
        with self._using("sign URLs for"):
            try:
                url = str(self._fs.sign(f"{self.folder}/{digest}", expiration=_EXPIRES))
            except NotImplementedError as exc:
                raise ExecutorError(
                    f"what payloads={self._url!r} names cannot be read by tasks elsewhere, since "
                    "it has no signed URLs: name a bucket, such as s3://my-bucket, or a folder "
                    "that is mounted there too"
                ) from exc
        self._signed[digest] = time.time(), url
        return url

    def remove(self, digests: Sequence[str]) -> None:
        with self._using("delete objects of"):
            self._fs.rm([f"{self.folder}/{digest}" for digest in digests])

    def close(self) -> None:
        with self._using("delete objects of"):
            if self._fs.exists(self.folder):
                self._fs.rm(self.folder, recursive=True)

    def _sweep(self) -> None:
        if not self._fs.exists(self._base):
            return
        for one in self._fs.ls(self._base, detail=True):
            path = str(one["name"]).rstrip("/")
            with contextlib.suppress(FileNotFoundError):  # another session was quicker
                if is_orphan(path.rsplit("/", 1)[-1]) and self._age(path) >= self._spare:
                    self._fs.rm(path, recursive=True)

    def _age(self, path: str) -> float:
        """Seconds since something was stored there; none if the place does not tell."""
        try:
            times = [self._fs.modified(one).timestamp() for one in self._fs.find(path)]
        except NotImplementedError:
            return 0.0
        return time.time() - max(times, default=0.0)

    @contextlib.contextmanager
    def _using(self, doing: str) -> Iterator[None]:
        try:
            yield
        except ExecutorError:
            raise
        except Exception as exc:  # each file system of fsspec raises its own kinds
            said = f"{type(exc).__name__}: {exc}".rstrip(": ")
            raise ExecutorError(f"cannot {doing} {self._url!r} (payloads=): {said}") from exc


def _file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    try:
        import fsspec  # an extra of its own
    except ImportError as exc:
        raise ExecutorError(
            f"payloads={url!r} needs: pip install 'twingraph-nb[payloads]'"
        ) from exc
    try:
        fs, root = fsspec.core.url_to_fs(url)
    except ImportError as exc:
        scheme = url.partition(":")[0]
        said = f"payloads={url!r} needs the library of {scheme}:// for fsspec: {exc}"
        raise ExecutorError(said) from exc
    except Exception as exc:  # each file system of fsspec raises its own kinds
        raise ExecutorError(f"payloads={url!r} cannot be used: {exc}") from exc
    return fs, str(root)


class Stores:
    """The stores of one platform, by what `payloads=` says.

    default: for components that do not say (`Settings.payloads`). mounted: where the platform
    mounts a folder for its tasks, "" if the user sees to that. spare: see `FolderStore`.
    """

    def __init__(
        self, platform: str, default: str = "", *, mounted: str = "", spare: float = 0.0
    ) -> None:
        self._platform, self._default = platform, default
        self._mounted, self._spare = mounted, spare
        self._made: dict[str, Payloads] = {}

    def of(self, component: Component) -> Payloads | None:
        """Give what keeps the payloads of a component, None if they go with its jobs.

        Raises:
            ExecutorError: it names nothing of use.
        """
        text = str(component.options.get("payloads") or self._default)
        if text.lower() in _OFF:
            return None
        found = self._made.get(text)
        if found is None:
            found = self._made[text] = Payloads(self._store(text))
        return found

    async def close(self) -> None:
        """Remove all that was stored."""
        made, self._made = self._made, {}
        await asyncio.gather(*[one.close() for one in made.values()])

    def _bucket(self, name: str) -> Store:
        try:
            module = importlib.import_module("twingraph_nb.executors.aws_bucket")
        except ImportError as exc:
            said = f"payloads='s3://{name.strip('/')}' needs: pip install 'twingraph-nb[aws]'"
            raise ExecutorError(said) from exc
        made: Store = module.BucketStore(name, self._platform)
        return made

    def _store(self, text: str) -> Store:
        parts = urlsplit(text)
        if parts.scheme == "s3":
            return self._bucket(f"{parts.netloc}/{parts.path.strip('/')}")
        if "://" in text and parts.scheme not in ("file", "local"):
            return UrlStore(text, spare=self._spare)
        place = unquote(parts.netloc + parts.path) if "://" in text else text
        here, *there = _BETWEEN.split(place)
        if len(there) > 1:
            raise ExecutorError(
                f"payloads={text!r} has too many parts: '/folder', or '/folder/here:/folder/there'"
            )
        base = Path(os.path.expanduser(here)).absolute()
        if there or not self._mounted:
            return FolderStore(base, there[0] if there else "", spare=self._spare)
        return FolderStore(base, self._mounted, apart=True, spare=self._spare)
