"""Images without a registry: one layer of the running interpreter, packages and programs."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import sys
import tempfile
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

import docker
from docker.errors import APIError, ImageNotFound

from tests.services import rootfs
from tests.services.base import FOLDER, ensure, locked
from tests.services.docker import REPOSITORY

__all__ = ["python_image"]

MARK = "/etc/passwd"  # in every image
IMPORT = 300  # seconds
CHANGES = (
    "ENV PATH=/usr/local/bin:/usr/bin:/bin",
    "ENV LANG=C.UTF-8",
    'CMD ["python3"]',
)


def python_image(site: Sequence[str | Path] = (), bins: Sequence[str | Path] = ()) -> str:
    """The name of an image in the tests' engine, imported if it is not there.

    It has ``python``, ``python3``, a shell and a few small programs, root and ``nobody``, /tmp, CA
    certificates and time zones. There is no ``pip``.

    Args:
        site: names of installed distributions (with extras and all that they require), or folders
            that come to lie in site-packages under their own name.
        bins: programs by name or path, with the shared libraries they need.
    Raises:
        LookupError: a package or a program is not installed here.
        ServiceMissing, ServiceFailed: there is no engine.
    """
    root = rootfs.Rootfs()
    root.add_interpreter()
    root.add_programs(bins)
    for package in sorted(_distributions(each for each in site if isinstance(each, str))):
        root.add_distribution(importlib.metadata.distribution(package))
    for folder in site:
        if not isinstance(folder, str):
            root.add_package(folder)
    name = f"{REPOSITORY}:{_digest(root)}"
    client = docker.APIClient(base_url=ensure("docker")["host"], timeout=IMPORT, version="auto")
    try:
        with locked("images"):
            if not _usable(client, name):
                _import(client, root, name)
    finally:
        client.close()
    return name


def _digest(root: rootfs.Rootfs) -> str:
    recipe = Path(rootfs.__file__).read_text()
    said = json.dumps([recipe, CHANGES, sys.version, root.content()])
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _usable(client: docker.APIClient, name: str) -> bool:
    """Whether the image is there and whole; one that kept data has lost a part of is removed."""
    try:
        client.inspect_image(name)
    except ImageNotFound:
        return False
    if _whole(client, name):
        return True
    # Else the engine finds that it knows the layer, and keeps the one that is broken.
    client.remove_image(name, force=True)
    return False


def _whole(client: docker.APIClient, name: str) -> bool:
    probe = f"probe-{uuid.uuid4().hex}"
    try:
        client.create_container(name, ["true"], name=probe)
        data, _ = client.get_archive(probe, MARK)
        return bool(b"".join(data))
    except APIError:
        return False
    finally:
        with contextlib.suppress(APIError):
            client.remove_container(probe, force=True)


def _import(client: docker.APIClient, root: rootfs.Rootfs, name: str) -> None:
    repository, _, tag = name.partition(":")
    with tempfile.NamedTemporaryFile(dir=FOLDER, prefix="image-", suffix=".tar") as file:
        root.write(Path(file.name))
        answer = client.import_image(
            src=file.name, repository=repository, tag=tag, changes=list(CHANGES)
        )
    if "errorDetail" in answer:
        raise RuntimeError(f"the engine did not take {name}: {answer}")


def _distributions(wanted: Iterable[str]) -> set[str]:
    """The names of distributions and of all that they require in this environment."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    todo = [Requirement(each) for each in wanted]
    while todo:
        this = todo.pop()
        name = canonicalize_name(this.name)
        for extra in ("", *sorted(this.extras)):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            found.add(name)
            try:
                required = importlib.metadata.distribution(name).requires or ()
            except importlib.metadata.PackageNotFoundError as exc:
                raise LookupError(f"no package {name!r} in this environment") from exc
            for said in required:
                below = Requirement(said)
                if below.marker is None or below.marker.evaluate({"extra": extra}):
                    todo.append(below)
    return found
