"""The other Pythons that this machine has."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

__all__ = ["oldest", "places_of", "said_by"]


def places_of(version: str) -> Iterator[str]:
    """Give where an interpreter of a version such as "3.12" may be."""
    name = f"python{version}"
    versions = Path.home().glob(f".pyenv/versions/{version}.*/bin/{name}")
    places = [shutil.which(name), f"/usr/bin/{name}", f"/usr/local/bin/{name}"]
    yield from (place for place in places if place)
    yield from map(str, sorted(versions, reverse=True))


def said_by(place: str, program: str) -> str:
    """Give what an interpreter prints, "" if it does not start."""
    try:
        done = subprocess.run([place, "-c", program], capture_output=True, text=True, timeout=20)
    except OSError:
        return ""
    return "" if done.returncode else done.stdout.strip()


def oldest(version: tuple[int, int] = (3, 9)) -> dict[str, str]:
    """Give version -> path of an interpreter of that version, {} if there is none."""
    name = "{}.{}".format(*version)
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    for place in places_of(name):
        if said_by(place, ask) == name:
            return {name: place}
    return {}
