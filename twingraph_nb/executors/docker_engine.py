"""How a Docker engine is reached, and why it cannot be. What is here blocks."""

from __future__ import annotations

import os
from typing import Any

import docker
from docker.errors import DockerException
from requests.exceptions import RequestException

from twingraph_nb.errors import Unreachable

__all__ = ["connected", "engine_at", "version"]

_PATIENCE = 60
"""Seconds for an answer of the engine."""
_CURE = "Start Docker, or say where it is: host='unix:///path/to/docker.sock', or DOCKER_HOST"
_DENIED = "permission denied"
_ALLOWED = (
    "Let this user use it: sudo usermod -aG docker $USER, then log in again; or take an engine of "
    "your own (rootless Docker) with host= or DOCKER_HOST"
)


def engine_at(host: str) -> str:
    """Give the address of the engine that a component names, or of the usual one."""
    return host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"


def connected(host: str = "") -> Any:
    """Give a client of an engine that answers.

    Raises:
        Unreachable: it does not; says what to do.
    """
    tried = engine_at(host)
    try:
        if tried.startswith("unix://"):
            os.stat(tried.removeprefix("unix://"))
        # Many threads may wait for an answer at once: the default pool of 10 would hold them up.
        if host:
            made = docker.DockerClient(base_url=host, timeout=_PATIENCE, max_pool_size=64)
        else:
            made = docker.from_env(timeout=_PATIENCE, max_pool_size=64)
        made.api.ping()
        return made.api
    except (DockerException, RequestException, OSError) as exc:
        why = _reason(exc)
        cure = _ALLOWED if why == _DENIED else _CURE
        raise Unreachable("docker", tried, why, cure) from None


def version() -> str:
    """Give the version of the usual engine."""
    api = connected()
    try:
        return str(api.version()["Version"])
    finally:
        api.close()


def _reason(exc: BaseException) -> str:
    """The innermost cause: the client wraps what happened four times."""
    text = str(exc)
    if "Permission denied" in text:
        return _DENIED
    if "No such file" in text or "Connection refused" in text:
        return "no engine listens there"
    return text.rstrip(".")
