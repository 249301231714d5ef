"""The platforms there are: what each is called, needs and takes as options. Data only."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

__all__ = [
    "ALIASES",
    "OPTIONS",
    "PLATFORMS",
    "Platform",
    "read_platform_option",
    "requirements",
    "takes",
]

Reader = Callable[[object], object]


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("wants a text")
    return value


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("yes", "true", "on", "1"):
        return True
    if str(value).lower() in ("no", "false", "off", "0"):
        return False
    raise ValueError("wants yes or no")


def _count(value: object) -> int:
    if isinstance(value, bool) or not str(value).isdigit() or int(str(value)) < 1:
        raise ValueError("wants a whole number, 1 or more")
    return int(str(value))


def _gpus(value: object) -> str | int | tuple[str, ...]:
    """ "all", how many, or the ids of some: ``True``, ``2``, ``"2"``, ``"0,1"``, ``[0, 1]``."""
    if value is True or str(value).lower() in ("all", "yes", "true", "on"):
        return "all"
    if value is False or str(value).lower() in ("no", "false", "off"):
        return 0
    if str(value).isdigit():
        return int(str(value))
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not parts:
        raise ValueError("wants a number, 'all', or the ids of GPUs such as '0,1'")
    return tuple(str(part).strip() for part in parts)


def _seconds(value: object) -> float:
    units = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", str(value))
    if not found or isinstance(value, bool):
        raise ValueError("wants seconds, or text such as '30s', '5m'")
    return float(found[1]) * units[found[2]]


def _names(value: object) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple, set, frozenset)):
        raise ValueError("wants a list of names, or text such as 'a,b'")
    if not all(isinstance(part, str) for part in parts):
        raise ValueError("wants a list of names, or text such as 'a,b'")
    return tuple(part.strip() for part in parts if part.strip())


_BETWEEN = re.compile(r",(?![^\[\]]*\])(?!\s*[<>=!~])")
"""A comma between requirements, not one inside of ``pkg[a,b]>=1,<2``."""


def requirements(value: object) -> tuple[str, ...]:
    """Give requirements of pip one by one, from a list or a text such as ``"a>=1,<2,b[x,y]"``.

    Raises:
        ValueError: it is neither.
    """
    return _names(_BETWEEN.split(value) if isinstance(value, str) else value)


def _pairs(value: object) -> dict[str, str]:
    """Text to text: a dict, or ``"A=1,B=2"``."""
    if isinstance(value, str):
        found = [part.partition("=") for part in value.split(",") if part.strip()]
        if any(not sign for _, sign, _ in found):
            raise ValueError("wants a dict, or text such as 'A=1,B=2'")
        return {name.strip(): text.strip() for name, _, text in found}
    if not isinstance(value, Mapping):
        raise ValueError("wants a dict, or text such as 'A=1,B=2'")
    return {str(name): str(text) for name, text in value.items()}


def _environ(value: object) -> dict[str, str]:
    found = _pairs(value)
    for name in found:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"wants names of environment variables, and {name!r} is none")
    return found


def _mapping(value: object) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError("wants a dict")
    return {str(k): v for k, v in value.items()}


def _listed(value: object) -> tuple[object, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError("wants a list")
    return tuple(value)


def _any(value: object) -> object:
    return value


def _one_of(*words: str) -> Reader:
    def read(value: object) -> str:
        if value not in words:
            raise ValueError(f"wants one of {', '.join(words)}")
        return str(value)

    return read


EVERYWHERE: Mapping[str, Reader] = {"attributes": _pairs}
"""Options of all platforms. attributes: what the graph of executions is to say of each task."""
FAR: Mapping[str, Reader] = {
    **EVERYWHERE,
    "env": _environ,
    "secrets": _names,
    "ship": _one_of("source", "pickle"),
}
"""Options of every platform outside of the kernel's process.

env: environment variables of the task. secrets: names of variables of the kernel's environment
that the task gets too; their values are in no log, event or description of a container.
ship: "source", or "pickle" for functions whose source cannot travel (needs cloudpickle).
"""
UNTRUSTED: Mapping[str, Reader] = {**FAR, "trust": _flag}
"""Options of platforms whose answers are not unpickled, unless `trust` says so."""
STORED: Mapping[str, Reader] = {"payloads": _text}
"""Where large inputs are stored for tasks that share them: a folder, or a URL such as s3://x."""
_AWS: Mapping[str, Reader] = {
    **STORED,
    "region": _text,
    "endpoint_url": _text,
    "bucket": _text,
}


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform as users name it.

    about: for a list. extra: of pip, "" when nothing more is needed. module: of its client
    library. options: what a component may say about it, with the reader of each.
    here: its tasks take cores and memory of this machine.
    """

    name: str
    about: str
    options: Mapping[str, Reader] = field(default_factory=dict)
    extra: str = ""
    module: str = ""
    here: bool = False


_ALL = (
    Platform(
        "local",
        "in this process: async components on a loop, others in threads",
        EVERYWHERE,
        here=True,
    ),
    Platform(
        "process",
        "in worker processes on this machine; a worker that dies fails its task alone",
        {**FAR, "python": _text, "deps": requirements},
        here=True,
    ),
    Platform(
        "docker",
        "in containers that stay for the next task",
        {
            **UNTRUSTED,
            **STORED,
            "image": _text,
            "build": _any,
            "pull": _one_of("missing", "always", "never"),
            "files": _pairs,
            "volumes": _pairs,
            "pids": _count,
            "gpus": _gpus,
            "network": _text,
            "user": _text,
            "writable": _flag,
            "fresh": _flag,
            "workers": _count,
            "idle": _seconds,
            "linger": _seconds,
            "host": _text,
        },
        "docker",
        "docker",
    ),
    Platform(
        "kubernetes",
        "as jobs of a cluster, or in warm worker pods",
        {
            **UNTRUSTED,
            **STORED,
            "image": _text,
            "context": _text,
            "kubeconfig": _text,
            "namespace": _text,
            "service_account": _text,
            "gpus": _count,
            "node_selector": _pairs,
            "tolerations": _listed,
            "volumes": _listed,
            "image_pull_secrets": _names,
            "image_pull_policy": _one_of("Always", "IfNotPresent", "Never"),
            "pod": _mapping,
            "warm": _flag,
            "workers": _count,
            "idle": _seconds,
            "linger": _seconds,
            "patience": _seconds,
        },
        "kubernetes",
        "kubernetes",
    ),
    Platform(
        "lambda",
        "as AWS Lambda functions",
        {
            **UNTRUSTED,
            **_AWS,
            "function_name": _text,
            "role": _text,
            "layers": _names,
            "packages": _names,
            "runtime": _text,
            "vpc": _mapping,
            "workers": _count,
        },
        "aws",
        "boto3",
    ),
    Platform(
        "batch",
        "as AWS Batch jobs; a map is one array job",
        {
            **UNTRUSTED,
            **_AWS,
            "queue": _text,
            "image": _text,
            "role": _text,
            "execution_role": _text,
            "job_definition": _text,
            "vcpus": _any,
            "attempts": _count,
        },
        "aws",
        "boto3",
    ),
    Platform(
        "celery",
        "on Celery workers",
        {**FAR, **STORED, "broker": _text, "backend": _text, "queue": _text},
        "celery",
        "celery",
    ),
    Platform(
        "dask",
        "on a Dask cluster; results stay there until somebody looks",
        {
            **FAR,
            "address": _text,
            "client": _any,
            "resources": _mapping,
            "workers": _count,
            "linger": _seconds,
        },
        "dask",
        "distributed",
    ),
)
PLATFORMS: Mapping[str, Platform] = {platform.name: platform for platform in _ALL}
"""Every platform of this package by name."""

ALIASES: Mapping[str, str] = {"additional_attributes": "attributes", "docker_image": "image"}
"""TwinGraph's words for options of platforms."""

OPTIONS: tuple[str, ...] = tuple(
    dict.fromkeys([*ALIASES, *(name for platform in _ALL for name in platform.options)])
)
"""Every option that some platform takes."""


def takes(option: str) -> tuple[str, ...]:
    """Give the platforms that take an option."""
    return tuple(p.name for p in _ALL if option in p.options)


def read_platform_option(platform: str, option: str, value: object) -> object:
    """Give the value of an option as its executor gets it.

    Options of a platform of another package are given as they are.
    Raises:
        ValueError: of the wrong kind; the text goes on after the option's name.
        KeyError: the platform does not take it.
    """
    known = PLATFORMS.get(platform)
    return value if known is None else known.options[option](value)
