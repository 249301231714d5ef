"""Images: pulled when missing, built once for each content, with progress for who waits."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import os
import re
import tarfile
import threading
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

from docker.errors import DockerException, ImageNotFound
from docker.utils import exclude_paths
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from twingraph_nb.errors import DefinitionError, ExecutorError
from twingraph_nb.executors.docker_setup import Setup, default_image
from twingraph_nb.executors.stamps import Stamps
from twingraph_nb.platforms import requirements

__all__ = ["BUILT", "Images"]

BUILT = "twingraph/build"
"""The name of all images that were made for `build=`."""

Tell = Callable[[str], None]
"""Takes a line about the progress; may raise to end it, also for an empty line."""


_REQUIREMENT = re.compile(
    r"(?!Dockerfile)[A-Za-z0-9][\w.-]*(\[[\w.,\s-]*\])?\s*([<>=!~@;].*)?", re.ASCII
)
"""What a requirement looks like; of a path that is not there it would be a surprise."""


class Images:
    """The images of one engine, as far as components need them."""

    def __init__(self, api: Any, stamps: Stamps) -> None:
        self._api, self._stamps = api, stamps
        self._making: dict[str, _Making] = {}

    async def ready(self, setup: Setup, tell: Tell) -> str:
        """Give the name of the image, once it is there. All who want one wait for the same; when
        nobody waits any more, it is not made.

        Args:
            tell: takes lines about the progress; of the first who waits.
        Raises:
            ExecutorError: it can neither be found, pulled nor built.
            DefinitionError: what it is to be built from is not there.
        """
        stamp = await self._stamps.of(setup.built_from)
        key = repr((setup.image, setup.build, setup.pull, stamp))
        making = self._making.get(key)
        if making is None or making.stopped or (making.made.done() and making.made.exception()):
            making = self._making[key] = _Making(self, setup)
        making.waiting.append(tell)
        try:
            return await asyncio.shield(making.made)
        finally:
            making.waiting.remove(tell)
            if not (making.waiting or making.made.done()):
                making.stopped = True

    def forget(self) -> None:
        """Look again the next time: the engine may have lost its images."""
        self._making.clear()

    def close(self) -> None:
        """Let go of what is being made."""
        for making in self._making.values():
            making.stopped = True

    def make(self, setup: Setup, tell: Tell) -> str:
        """Give the name of the image; blocks. What the client says is in the error, without it."""
        try:
            if setup.build:
                return self._built(setup, tell)
            return self._pulled(setup.image, setup.pull, tell)
        except ImageNotFound as exc:
            raise ExecutorError(
                f"image {setup.image!r} is not on the Docker engine and cannot be pulled: "
                f"{exc.explanation or exc}. Check its name, or `docker login` for a private one"
            ) from None
        except (DockerException, RequestException, HTTPError) as exc:
            said = getattr(exc, "explanation", None) or exc
            if setup.build:
                raise ExecutorError(f"the image cannot be built: {said}") from None
            raise ExecutorError(
                f"image {setup.image!r} cannot be pulled: {said}. Check its name and the network "
                "of the Docker engine, or take one that is there with image="
            ) from None
        except OSError as exc:
            raise DefinitionError(f"build={str(setup.build)!r} cannot be read: {exc}") from None

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
        name = hashlib.sha256(context).hexdigest()[:32]
        tag = f"{BUILT}:{name}"
        try:
            self._api.tag(tag, BUILT, name)  # so that the engine knows when it was used last
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


class _Making:
    """An image that is being made in a thread, and who waits for it.

    The thread keeps no process from its end, as those of the standard pool do.
    """

    def __init__(self, images: Images, setup: Setup) -> None:
        self.waiting: list[Tell] = []
        self.stopped = False
        self._loop = asyncio.get_running_loop()
        self.made: asyncio.Future[str] = self._loop.create_future()
        self.made.add_done_callback(_heard)
        work = threading.Thread(
            target=self._work, args=(images, setup), name="twingraph-image", daemon=True
        )
        work.start()

    def _work(self, images: Images, setup: Setup) -> None:
        said: str | Exception
        try:
            said = images.make(setup, self._tell)
        except Exception as exc:  # of the engine, of a file; who waits is told
            said = exc.with_traceback(None)
            said.__context__ = None  # its frames hold a connection
        with contextlib.suppress(RuntimeError):  # the session is over
            self._loop.call_soon_threadsafe(self._settle, said)

    def _tell(self, line: str) -> None:
        if self.stopped:
            raise ExecutorError("the image was not made: nobody waits for it any more")
        if line:
            self._loop.call_soon_threadsafe(self._pass_on, line)

    def _pass_on(self, line: str) -> None:
        for tell in self.waiting[:1]:
            tell(line)

    def _settle(self, said: str | Exception) -> None:
        if isinstance(said, str):
            self.made.set_result(said)
        else:
            self.made.set_exception(said)


def _heard(made: asyncio.Future[str]) -> None:
    """Nobody may be left who waits for the error."""
    if not made.cancelled():
        made.exception()


def _follow(lines: Generator[Mapping[str, Any], None, None], tell: Tell, failed: str) -> None:
    """Pass on what the engine says, each status of a layer once."""
    told: set[tuple[str, str]] = set()
    error = ""
    with contextlib.closing(lines):  # with its connection the engine's work ends
        for line in lines:  # to the end, also after an error
            error = error or str(line.get("error") or "")
            text = str(line.get("stream") or line.get("status") or "").strip()
            key = (str(line.get("id", "")), text)
            new = text and key not in told
            told.add(key)
            tell((f"{key[0]}: {text}" if key[0] else text) if new else "")
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
        wanted = requirements(str(build))
        if not wanted or not all(map(_REQUIREMENT.fullmatch, wanted)):
            raise DefinitionError(f"build={str(build)!r}: there is no such Dockerfile or folder")
        build = wanted
    if isinstance(build, (list, tuple)) and all(isinstance(one, str) for one in build):
        install = ["python3", "-m", "pip", "install", "--no-cache-dir", "--", *sorted(build)]
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
