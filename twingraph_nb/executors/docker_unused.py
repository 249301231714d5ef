"""Images that were built for components and that nothing has used for long. It blocks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from docker.errors import APIError, ImageNotFound

from twingraph_nb.executors.docker_engine import connected
from twingraph_nb.executors.docker_images import BUILT

__all__ = ["UnusedImage", "remove_unused_images"]

_IN_USE = 409  # or another image stands on it


@dataclass(frozen=True, slots=True)
class UnusedImage:
    """An image built for `build=`. used: when, in seconds since 1970. bytes: with what it shares
    with other images."""

    name: str
    used: float
    bytes: int


def remove_unused_images(older_than: float, *, dry_run: bool = False) -> tuple[UnusedImage, ...]:
    """Remove the images of `build=` that no container has and no session has used for so many
    seconds, from the engine of this machine or of DOCKER_HOST.

    Args:
        dry_run: only give what would go.
    Raises:
        Unreachable: no engine answers.
    """
    with contextlib.closing(connected()) as api:
        before = time.time() - older_than
        return tuple(
            one for one in _free(api) if one.used < before and (dry_run or _removed(api, one.name))
        )


def _free(api: Any) -> Iterator[UnusedImage]:
    taken = {one["ImageID"] for one in api.containers(all=True)}
    for each in api.images(BUILT):
        for name in () if each["Id"] in taken else each["RepoTags"] or ():
            if not name.startswith(f"{BUILT}:"):
                continue
            with contextlib.suppress(ImageNotFound):  # somebody else cleans up too
                yield UnusedImage(name, _used(api.inspect_image(name)), int(each["Size"]))


def _used(image: Any) -> float:
    """When a session has asked for it, which names it anew, or when it was made."""
    named = (image.get("Metadata") or {}).get("LastTagTime") or ""
    times = [text for text in (named, image["Created"]) if text and not text.startswith("0001")]
    return max(datetime.fromisoformat(text).timestamp() for text in times)


def _removed(api: Any, name: str) -> bool:
    try:
        api.remove_image(name)
    except ImageNotFound:
        return False
    except APIError as exc:
        if exc.status_code == _IN_USE:
            return False
        raise
    return True
