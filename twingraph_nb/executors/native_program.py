"""What starts a worker of another language elsewhere: variables, files, a compiler, the worker."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twingraph_nb.component import Component
from twingraph_nb.errors import PortabilityError
from twingraph_nb.executors.base import Job
from twingraph_nb.executors.travel import environ_of
from twingraph_nb.languages import Built
from twingraph_nb.languages.foreign import spoken_by

__all__ = ["FOLDER", "LACKS", "Program", "lacking", "program_of", "variables_of"]

FOLDER = "/twingraph"
"""There the component's files are, where they come with the container."""
_COPY = "/tmp/twingraph"
"""There they are put or compiled: in the only folder that every user may write to."""
_REFUSED = 97  # exit status that says: the compiler did not take the code
LACKS = 95
"""Exit status that says: a program that brings the files is not there; its name is printed."""
_VARIABLES = 'while IFS= read -r line && [ -n "$line" ]; do export "$line"; done'
_BRINGING = (
    "for need in mkdir dd chmod; do "
    f'command -v "$need" >/dev/null || {{ echo "$need" >&2; exit {LACKS}; }}; done'
)
_BLOCK = 1 << 16
_READY = r"printf '\0000\000' >&2"
"""The mark of call 0."""
_CURES = {"node": "image='node:22-slim'", "bash": "image='debian:stable-slim'"}


@dataclass(frozen=True)
class Program:
    """What a container runs.

    built: the component. first: goes to its stdin before all else. needs: programs the image must
    have. refused: its exit status when a compiler in it refuses the code.
    """

    component: Component
    built: Built
    command: Sequence[str]
    first: bytes = field(repr=False)  # has variables in it, and these may be secret
    needs: Sequence[str]
    refused: int | None


def variables_of(job: Job, platform: str) -> Mapping[str, str]:
    """Give the task's own variables; they go in by stdin, where nobody who looks on sees them.

    Raises:
        PortabilityError: one of them cannot go that way.
    """
    environ = environ_of(job)
    for name, value in environ.items():
        if "\n" in value or "\0" in value or not name.isidentifier():
            what = (
                f"the variable {name!r} has more than one line, or a name that a shell does not "
                f"take: that cannot be given to {spoken_by(job.component)} code in a container"
            )
            raise PortabilityError(job.name, platform, [what])
    return environ


def program_of(
    component: Component, built: Built, environ: Mapping[str, str], *, brings: bool
) -> Program:
    """Give what a container runs: the worker, or a shell that makes all ready for it.

    Args:
        environ: the task's own variables.
        brings: the files come on stdin; else they are in `FOLDER`.
    """
    folder = _COPY if brings or built.prepare else FOLDER
    worker = built.started_in(folder)
    first = "".join(f"{k}={v}\n" for k, v in environ.items()) + "\n" if environ else ""
    steps, sent = [_VARIABLES] if environ else [], first.encode()
    if brings:
        brought, files = _brought(built)
        steps, sent = [*steps, *brought], sent + files
    elif built.prepare:
        steps.append(f"cp -r {FOLDER} {_COPY} || exit 1")
    for step in built.prepared_in(folder):
        failed = f"{{ cat {_COPY}/said >&2; exit {_REFUSED}; }}"
        steps.append(f"{shlex.join(step)} </dev/null >{_COPY}/said 2>&1 || {failed}")
    needs = [] if built.prepare or worker[0].startswith(folder) else [worker[0]]
    refused = _REFUSED if built.prepare else None
    if not steps:
        return Program(component, built, list(worker), b"", needs or [worker[0]], refused)
    script = "\n".join([*steps, _READY, f"exec {shlex.join(worker)}"])
    return Program(component, built, ["sh", "-c", script], sent, ["sh", *needs], refused)


def lacking(component: Component, image: str, program: str) -> str:
    """Say that an image lacks a program that the component needs, and what to do."""
    cure = _CURES.get(program)
    return (
        f"image {image!r} has no {program!r} on its PATH, which {spoken_by(component)} component "
        f"{component.name} needs there: take an image that has it"
        + (f", for example {cure}" if cure else "")
    )


def _brought(built: Built) -> tuple[list[str], bytes]:
    """The steps that write the files of what comes on stdin, and what is to come there.

    Each byte is read by who is to have it: `dd` with whole blocks takes no more than it is told.
    """
    steps, sent = [_BRINGING, f"mkdir -p {_COPY} || exit 1"], b""
    for path in sorted(built.folder.iterdir()):
        data, there = path.read_bytes(), shlex.quote(f"{_COPY}/{path.name}")
        blocks, rest = divmod(len(data), _BLOCK)
        reads = [(_BLOCK, blocks)] if blocks else []
        reads += [(rest, 1)] if rest else []
        if reads:
            how = [f"dd bs={size} count={count} iflag=fullblock" for size, count in reads]
            steps.append(f"{{ {' && '.join(how)}; }} >{there} 2>/dev/null || exit 1")
        else:
            steps.append(f": >{there}")
        if path.stat().st_mode & 0o100:
            steps.append(f"chmod 755 {there}")
        sent += data
    return steps, sent
