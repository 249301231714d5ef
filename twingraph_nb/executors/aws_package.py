"""What a Lambda function is made of: its settings, and its zip archive."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twingraph_nb.errors import ExecutorError, PortabilityError
from twingraph_nb.executors.aws_clients import Where, bucket_of, where_of
from twingraph_nb.executors.base import Job
from twingraph_nb.executors.kit import kit_zip

__all__ = ["HANDLER", "MIB", "UNZIPPED", "ZIPPED", "FunctionSetup", "archive", "setup_of"]

MIB = 1 << 20
LONGEST = 900
"""Seconds a function may run (AWS Lambda quotas)."""
MEMORY = 128, 10_240
"""MiB a function may have (AWS Lambda quotas)."""
ZIPPED, UNZIPPED = 50 * MIB, 250 * MIB
"""Bytes of an archive sent directly, and of what is in one with its layers (AWS Lambda quotas)."""
HANDLER = "twingraph_function.handler"
_USUAL_MEMORY = 512
_GRACE = 5  # seconds a function may go on after its task's timeout
_NEWEST, _OLDEST = (3, 14), (3, 9)  # of the managed runtimes; ours needs 3.9
_INSTALLING = 600.0  # seconds

_CODE = """\
from twingraph_nb.remote_post import Office, answer_event
office = Office(trust={trust})
def handler(event, context):
    return answer_event(office, event)
"""


@dataclass(frozen=True)
class FunctionSetup:
    """How a function is made; tasks of equal setups share one.

    given: the name the user wants, or "". memory: MiB. timeout: seconds. workers: most calls at
    once. bucket: for what is too large, or "". vpc: as the API has it.
    """

    where: Where
    given: str
    role: str
    runtime: str
    memory: int
    timeout: int
    layers: tuple[str, ...]
    packages: tuple[str, ...]
    vpc: tuple[tuple[str, Any], ...]
    trust: bool
    bucket: str
    workers: int

    @property
    def digest(self) -> str:
        """What is the same for two functions that do the same."""
        facts = [self.role, self.runtime, self.memory, self.timeout, self.layers, self.vpc]
        made = hashlib.sha256(repr((facts, self.packages, self.trust)).encode())
        made.update(_kit(self.trust))
        return made.hexdigest()[:20]

    @property
    def name(self) -> str:
        """The function's name."""
        return self.given or f"twingraph-{self.digest}"

    def configuration(self) -> dict[str, Any]:
        """Give its settings as the API has them."""
        found: dict[str, Any] = {
            "FunctionName": self.name,
            "Role": self.role,
            "Runtime": self.runtime,
            "Handler": HANDLER,
            "MemorySize": self.memory,
            "Timeout": self.timeout,
            "Layers": list(self.layers),
            "Description": f"twingraph {self.digest}",
        }
        if self.vpc:
            found["VpcConfig"] = dict(self.vpc)
        return found


def setup_of(job: Job, payloads: str = "") -> FunctionSetup:
    """Give the setup that a job's component asks for.

    Args:
        payloads: where large values go if the component names no bucket.
    Raises:
        PortabilityError: more than Lambda has; says how much that is.
    """
    options: Mapping[str, Any] = job.component.options
    policy = job.component.policy
    memory = math.ceil(policy.memory / MIB) or _USUAL_MEMORY
    timeout = LONGEST if policy.timeout is None else math.ceil(policy.timeout)
    problems = []
    if not MEMORY[0] <= memory <= MEMORY[1]:
        problems.append(
            f"it asks for {memory:,} MiB of memory, and a function has {MEMORY[0]} to "
            f"{MEMORY[1]:,}: change memory=, or use platform='batch'"
        )
    if timeout > LONGEST:
        problems.append(
            f"its timeout is {timeout:,} s, and a function may run 15 minutes ({LONGEST} s): "
            "set a shorter timeout=, or use platform='batch'"
        )
    if problems:
        raise PortabilityError(job.name, "lambda", problems)
    return FunctionSetup(
        where=where_of(job.component),
        given=options.get("function_name", ""),
        role=options.get("role", ""),
        runtime=options.get("runtime") or _runtime(),
        memory=memory,
        timeout=min(LONGEST, timeout + _GRACE),
        layers=tuple(options.get("layers") or ()),
        packages=tuple(sorted(options.get("packages") or ())),
        vpc=tuple((k, _frozen(v)) for k, v in sorted((options.get("vpc") or {}).items())),
        trust=bool(options.get("trust")),
        bucket=bucket_of(job.component, payloads),
        workers=options.get("workers", 0),
    )


def archive(setup: FunctionSetup, folder: Path) -> bytes:
    """Give the zip archive of a function. Blocks while packages are installed.

    Args:
        folder: where archives with packages are kept for the next time.
    Raises:
        ExecutorError: a package cannot be installed.
        PortabilityError: it is larger than Lambda takes.
    """
    if not setup.packages:
        return _kit(setup.trust)
    kept = folder / f"{setup.digest}.zip"
    if not kept.exists():
        with tempfile.TemporaryDirectory(prefix="twingraph-") as made:
            install(setup.packages, setup.runtime, made)
            files = {
                path.relative_to(made).as_posix(): path.read_bytes()
                for path in Path(made).rglob("*")
                if path.is_file() and path.suffix != ".pyc"
            }
        check_size(setup, sum(map(len, files.values())))
        folder.mkdir(parents=True, exist_ok=True)
        draft = kept.with_suffix(f".{os.getpid()}")
        draft.write_bytes(kit_zip({**files, **_handler(setup.trust)}))
        draft.replace(kept)
    return kept.read_bytes()


def check_size(setup: FunctionSetup, size: int) -> None:
    """See that what is in the archive is not too large.

    Raises:
        PortabilityError: it is.
    """
    if size > UNZIPPED:
        raise PortabilityError(
            setup.name,
            "lambda",
            [
                f"its packages ({', '.join(setup.packages)}) have {size / MIB:,.0f} MiB, and a "
                f"function has room for {UNZIPPED // MIB} MiB: leave some out, use a layer of "
                "AWS (layers=), or platform='batch' with an image"
            ],
        )


def install(packages: Sequence[str], runtime: str, folder: str) -> None:
    """Put packages for Lambda's Linux into a folder, by uv where it is there, else by pip.

    Raises:
        ExecutorError: one cannot be installed.
    """
    version = runtime.removeprefix("python")
    uv = shutil.which("uv")
    if uv:
        command = [uv, "pip", "install", "--python-platform", "x86_64-manylinux2014"]
    else:
        command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
        command += ["--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_28_x86_64"]
    command += ["--python-version", version, "--only-binary", ":all:", "--target", folder]
    try:
        done = subprocess.run(
            [*command, "--", *packages],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_INSTALLING,
            check=False,
        )
        said = done.stderr.strip().splitlines()[-3:] if done.returncode else []
    except (OSError, subprocess.TimeoutExpired) as exc:
        said = [str(exc)]
    if said:
        raise ExecutorError(
            f"platform 'lambda': cannot install {', '.join(packages)} for Python {version} on "
            f"Linux (packages= of the component): {' '.join(said)}"
        )


@functools.cache
def _kit(trust: bool) -> bytes:
    return kit_zip(_handler(trust))


def _handler(trust: bool) -> dict[str, bytes]:
    return {"twingraph_function.py": _CODE.format(trust=trust).encode()}


def _runtime() -> str:
    version = max(_OLDEST, min(_NEWEST, sys.version_info[:2]))
    return f"python{version[0]}.{version[1]}"


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
