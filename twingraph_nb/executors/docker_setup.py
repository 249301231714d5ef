"""What a component says about its containers, as one value: equal setups share containers."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from twingraph_nb.component import Component
from twingraph_nb.errors import PortabilityError
from twingraph_nb.executors.base import Job
from twingraph_nb.languages import language_of

__all__ = ["Setup", "default_image", "image_of", "setup_of"]

_PIDS = 512
"""Processes and threads of a container; a fork bomb ends there."""
_IDLE = 300.0
_LINGER = 3600.0
_IMAGES = dict.fromkeys(("javascript", "typescript"), "node:22-slim")
_ANY_IMAGE = "debian:stable-slim"
"""It has Bash, and what is compiled here runs everywhere."""


def default_image() -> str:
    """Give the image for components that name none: this Python's own version."""
    return f"python:{sys.version_info[0]}.{sys.version_info[1]}-slim"


def image_of(component: Component) -> str:
    """Give the image for a component that names none."""
    if component.language == "python":
        return default_image()
    asked = language_of(component.language).image
    return asked or _IMAGES.get(component.language, _ANY_IMAGE)


@dataclass(frozen=True)
class Setup:
    """How containers are made.

    host: of the engine, "" for that of the environment. build: what an image is built from.
    files: path there to path here. volumes: path or volume to path there, with ":ro".
    memory: bytes. idle: seconds after which an unused container is ended. linger: seconds that the
    answer of a task waits when its kernel has died; 0 = its container ends with the kernel.
    gpus: "all", how many, or the ids of some. stamp: changes with the files. session: of the
    executor that makes them.
    """

    image: str
    host: str = ""
    build: Any = None
    pull: str = "missing"
    files: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)
    cpus: float = 0.0
    memory: int = 0
    pids: int = _PIDS
    gpus: str | int | tuple[str, ...] = 0
    network: str = "none"
    user: str = ""
    writable: bool = False
    fresh: bool = False
    trust: bool = False
    workers: int = 0
    idle: float = _IDLE
    linger: float = _LINGER
    stamp: str = ""
    component: str = field(default="", compare=False)
    session: str = field(default="", compare=False)

    @property
    def key(self) -> str:
        """What two setups have in common that may share containers."""
        facts = {k: v for k, v in vars(self).items() if k not in ("component", "session")}
        return repr(sorted((k, repr(v)) for k, v in facts.items()))

    @property
    def built_from(self) -> tuple[str, ...]:
        """The folder or Dockerfile of its image, if there is one."""
        is_path = isinstance(self.build, os.PathLike) or (
            isinstance(self.build, str) and os.path.exists(self.build)
        )
        return (str(self.build),) if is_path else ()

    @property
    def taken(self) -> tuple[str, ...]:
        """The files and folders of this machine that are taken along."""
        return tuple(self.files.values())

    @property
    def keeps(self) -> bool:
        """True if each task has a container that outlives the kernel."""
        return self.fresh and self.linger > 0

    @property
    def lasts(self) -> bool:
        """True if a task that takes long makes its container, of many tasks, outlive the kernel."""
        return not self.fresh and self.linger > 0

    def device_requests(self) -> list[dict[str, Any]] | None:
        """Give the request for GPUs as the engine wants it."""
        if not self.gpus:
            return None
        ids = list(self.gpus) if isinstance(self.gpus, tuple) else []
        count = -1 if self.gpus == "all" else 0 if ids else self.gpus
        return [{"Driver": "", "Count": count, "DeviceIDs": ids, "Capabilities": [["gpu"]]}]


def setup_of(job: Job) -> Setup:
    """Give the setup that a job's component asks for.

    Raises:
        PortabilityError: a file it wants to take along is not there.
    """
    component = job.component
    options = dict(component.options)
    files = cast("dict[str, str]", options.get("files") or {})
    files = {there: os.path.expanduser(here) for there, here in files.items()}
    for there, here in files.items():
        if not os.path.exists(here) or not there.startswith("/"):
            what = f"files= takes {here!r} along, which is not there"
            if there[:1] != "/":
                what = f"files= wants absolute paths in the container, not {there!r}"
            raise PortabilityError(job.name, "docker", [what])
    options["files"] = {there: os.path.abspath(here) for there, here in files.items()}
    known = Setup.__dataclass_fields__
    chosen = {k: v for k, v in options.items() if k in known and v is not None}
    chosen.setdefault("image", "" if options.get("build") else image_of(component))
    if "volumes" in chosen:
        volumes = cast("dict[str, str]", chosen["volumes"])
        chosen["volumes"] = {_absolute(here): there for here, there in volumes.items()}
    policy = component.policy
    return Setup(
        **{  # type: ignore[arg-type]
            **chosen,
            "cpus": policy.cpus,
            "memory": policy.memory,
            "component": component.name,
        }
    )


def _absolute(here: str) -> str:
    """The path of a folder of this machine, as an engine wants it; a volume's name as it is."""
    is_path = os.sep in here or here in (".", "..") or here.startswith("~")
    return os.path.abspath(os.path.expanduser(here)) if is_path else here
