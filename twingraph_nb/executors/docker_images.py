"""Images: pulled when missing, built once for each content, with progress for who waits."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from docker.errors import DockerException, ImageNotFound
from docker.utils import exclude_paths
from requests.exceptions import RequestException

from twingraph_nb.errors import DefinitionError, ExecutorError
from twingraph_nb.executors.docker_setup import Setup, default_image

__all__ = ["Images"]

Tell = Callable[[str], None]


class Images:
    """The images of one engine, as far as components need them."""

    def __init__(self, api: Any) -> None:
        self._api = api
        self._ready: dict[str, asyncio.Task[str]] = {}

    async def ready(self, setup: Setup, tell: Tell) -> str:
        """Give the name of the image, once it is there. All who want one wait for the same.

        Args:
            tell: takes lines about the progress; of the first who asks.
        Raises:
            ExecutorError: it can neither be found, pulled nor built.
            DefinitionError: what it is to be built from is not there.
        """
        key = repr((setup.image, setup.build, setup.pull))
        known = self._ready.get(key)
        if known is None or (known.done() and known.exception() is not None):
            loop = asyncio.get_running_loop()

            def safe(line: str) -> None:
                loop.call_soon_threadsafe(tell, line)

            known = loop.create_task(asyncio.to_thread(self._make, setup, safe))
            self._ready[key] = known
        return await asyncio.shield(known)

    def forget(self) -> None:
        """Look again the next time: the engine may have lost its images."""
        self._ready.clear()

    def _make(self, setup: Setup, tell: Tell) -> str:
        try:
            if setup.build:
                return self._built(setup, tell)
            return self._pulled(setup.image, setup.pull, tell)
        except ImageNotFound as exc:
            raise ExecutorError(
                f"image {setup.image!r} is not on the Docker engine and cannot be pulled: "
                f"{exc.explanation or exc}. Check its name, or `docker login` for a private one"
            ) from exc
        except (DockerException, RequestException) as exc:
            said = getattr(exc, "explanation", None) or exc
            raise ExecutorError(f"image {setup.image or 'to build'!r}: {said}") from exc

    def _pulled(self, image: str, pull: str, tell: Tell) -> str:
        if pull != "always":
            try:
                self._api.inspect_image(image)
                return image
            except ImageNotFound:
                if pull == "never":
                    raise ExecutorError(
                        f"image {image!r} is not on the Docker engine, and pull='never' says "
                        f"not to fetch it: docker pull {image}, or drop the option"
                    ) from None
        tell(f"pulling image {image}")
        # Without a tag the engine would fetch all there are.
        tagged = ":" in image.rpartition("/")[2] or "@" in image
        lines = self._api.pull(image if tagged else f"{image}:latest", stream=True, decode=True)
        _follow(lines, tell, f"image {image!r} cannot be pulled")
        return image

    def _built(self, setup: Setup, tell: Tell) -> str:
        context = _context(setup.build, setup.image)
        tag = f"twingraph/build:{hashlib.sha256(context).hexdigest()[:32]}"
        try:
            self._api.inspect_image(tag)
            return tag
        except ImageNotFound:
            pass
        tell(f"building image {tag}")
        lines = self._api.build(
            fileobj=io.BytesIO(context),
            custom_context=True,
            tag=tag,
            rm=True,
            forcerm=True,
            decode=True,
        )
        _follow(lines, tell, "the image cannot be built")
        return tag


def _follow(lines: Iterable[Mapping[str, Any]], tell: Tell, failed: str) -> None:
    """Pass on what the engine says, each status of a layer once."""
    told: set[tuple[str, str]] = set()
    error = ""
    for line in lines:  # to the end, also after an error: the connection ends with it
        error = error or str(line.get("error") or "")
        text = str(line.get("stream") or line.get("status") or "").strip()
        key = (str(line.get("id", "")), text)
        if text and key not in told:
            told.add(key)
            tell(f"{key[0]}: {text}" if key[0] else text)
    if error:
        raise ExecutorError(f"{failed}: {error}")


def _context(build: object, base: str) -> bytes:
    """Give the build context as a tar archive, the same bytes for the same content.

    Args:
        build: a folder or Dockerfile by path, or a list of pip requirements put onto `base`.
    """
    if isinstance(build, (str, os.PathLike)):
        path = Path(build)
        if path.is_file():
            return _tar({"Dockerfile": path.read_bytes()})
        if (path / "Dockerfile").is_file():
            ignore = path / ".dockerignore"
            rules = ignore.read_text().splitlines() if ignore.is_file() else []
            rules = [line.strip() for line in rules if line.strip() and line[0] != "#"]
            names = sorted(exclude_paths(str(path), rules, dockerfile="Dockerfile"))
            return _tar({n: (path / n).read_bytes() for n in names if (path / n).is_file()})
        if os.sep in str(build) or path.suffix:
            raise DefinitionError(f"build={str(build)!r}: there is no such Dockerfile or folder")
        build = [part for part in str(build).split(",") if part]
    if isinstance(build, (list, tuple)) and all(isinstance(one, str) for one in build):
        install = ["python3", "-m", "pip", "install", "--no-cache-dir", *sorted(build)]
        text = f"FROM {base or default_image()}\nUSER root\nRUN {json.dumps(install)}\n"
        return _tar({"Dockerfile": text.encode()})
    raise DefinitionError(
        "build= wants a folder with a Dockerfile, a Dockerfile's path, or a list of packages, "
        f"not {build!r}"
    )


def _tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()
