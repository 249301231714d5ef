"""Components in other languages on platform `docker`: a container stays for the next call.

A compiled language is compiled in the container if the image has its compiler, else here, to a
file that needs nothing of the image. What the code prints comes as `stderr`, in its order: stdout
carries the answers.
"""

from __future__ import annotations

import asyncio
import functools
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from docker.errors import DockerException
from requests.exceptions import RequestException

from twingraph_nb.component import Component
from twingraph_nb.errors import ExecutorError, PortabilityError, ToolchainMissing, TwingraphError
from twingraph_nb.executors.base import Job, Outcome, Report
from twingraph_nb.executors.crew import Crew, Place, carried_out
from twingraph_nb.executors.docker_container import Container, is_missing, start_error
from twingraph_nb.executors.docker_native_worker import ContainerWorker, Program
from twingraph_nb.executors.docker_setup import Setup
from twingraph_nb.executors.travel import environ_of
from twingraph_nb.languages import Built, Speaker, cache_folder, language_of
from twingraph_nb.languages.foreign import spoken_by

__all__ = ["DockerNative"]

_FOLDER = "/twingraph"
"""There the component's files are in the container."""
_COPY = "/tmp/twingraph"
"""There they are compiled: in the only folder that every user may write to."""
_REFUSED = 97  # exit status that says: the compiler did not take the code
_VARIABLES = 'while IFS= read -r line && [ -n "$line" ]; do export "$line"; done'


class DockerNative:
    """The containers with workers of other languages on one engine."""

    def __init__(self, api: Any, size: int) -> None:
        self._api, self._size = api, size
        self._crews: dict[object, Crew[ContainerWorker]] = {}
        self._compilers: dict[str, bool] = {}

    async def run(self, job: Job, report: Report, setup: Setup, image: str) -> Outcome:
        """Run the job to its outcome; cancelling this removes its container.

        Raises:
            ExecutorError: no container could be started.
        """
        try:
            environ = _environ(job)
        except TwingraphError as exc:
            return Outcome(error=exc)
        return await carried_out(self._crew(job.component, setup, image, environ), job, report)

    async def close(self) -> None:
        """Remove all containers."""
        workers = [worker for crew in self._crews.values() for worker in crew.workers]
        for crew in self._crews.values():
            crew.close()
        await asyncio.gather(*(worker.gone for worker in workers))
        self._crews.clear()

    # -- inside --------------------------------------------------------------------------------

    def _crew(
        self, component: Component, setup: Setup, image: str, environ: Mapping[str, str]
    ) -> Crew[ContainerWorker]:
        # The file's name too: errors show the cell's own lines.
        where = (component.digest, component.source.filename)
        key = (*where, image, setup.key, tuple(sorted(environ.items())))
        crew = self._crews.get(key)
        if crew is None:
            self._crews = {k: one for k, one in self._crews.items() if not one.resting}
            crew = self._crews[key] = Crew(
                component,
                setup.workers or self._size,
                setup.idle,
                build=functools.partial(self._built, component, setup, image),
                start=self._starting(component, setup, image, environ),
                here=_everywhere,
                kind="container",
                single=setup.fresh,
            )
        return crew

    def _built(self, component: Component, setup: Setup, image: str) -> Built:
        """What runs in the image; in a thread."""
        language, cache = language_of(component.language), cache_folder()
        inside = language.build(component, cache=cache, where="inside")
        if not inside.prepare:
            return inside
        compiler = inside.prepare[0][0]
        if self._has(setup, image, compiler):
            return inside
        try:
            return language.build(component, cache=cache, where="static")
        except ToolchainMissing as exc:
            raise ExecutorError(
                f"{component.name} is {spoken_by(component)}, and image {image!r} has no "
                f"{compiler!r} to compile it, nor has this machine ({', '.join(exc.tried)}): "
                "take an image with a compiler (image=...), or install one here"
            ) from exc

    def _has(self, setup: Setup, image: str, program: str) -> bool:
        """Find out by starting it."""
        key = f"{program} {image} {setup.key}"
        if key not in self._compilers:
            container = Container(self._api, replace(setup, files={}), image)
            try:
                container.start([program, "--version"], {}).close()
                self._compilers[key] = True
            except (DockerException, RequestException, OSError) as exc:
                if not is_missing(exc, program):
                    raise start_error(image, exc) from exc
                self._compilers[key] = False
            finally:
                container.disconnect()
                container.remove()
        return self._compilers[key]

    def _starting(
        self, component: Component, setup: Setup, image: str, environ: Mapping[str, str]
    ) -> Callable[[Built, Speaker, Place], ContainerWorker]:
        """How a container is started once the component is built."""

        def start(built: Built, speaker: Speaker, place: Place) -> ContainerWorker:
            files = {f"{_FOLDER}/{one.name}": str(one) for one in built.folder.iterdir()}
            own = replace(setup, files={**setup.files, **files})
            program = Program(
                component,
                command=_command(built, environ),
                environ=dict(built.environ),
                first="".join(f"{k}={v}\n" for k, v in environ.items()) + "\n" if environ else "",
                needs=_needs(built, environ),
                refused=_REFUSED if built.prepare else None,
            )
            return ContainerWorker(Container(self._api, own, image), speaker, place, program)

        return start


def _everywhere() -> Place:
    return "", {}


def _environ(job: Job) -> Mapping[str, str]:
    """The task's own variables; they go in by stdin, where nobody who looks at containers sees."""
    environ = environ_of(job)
    for name, value in environ.items():
        if "\n" in value or "\0" in value or not name.isidentifier():
            what = (
                f"the variable {name!r} has more than one line, or a name that a shell does not "
                f"take: that cannot be given to {spoken_by(job.component)} code in a container"
            )
            raise PortabilityError(job.name, "docker", [what])
    return environ


def _command(built: Built, environ: Mapping[str, str]) -> list[str]:
    """What the container runs: the worker, or a shell that makes all ready for it."""
    folder = _COPY if built.prepare else _FOLDER
    worker = built.started_in(folder)
    if not (built.prepare or environ):
        return list(worker)
    steps = [_VARIABLES] if environ else []
    if built.prepare:
        steps.append(f"cp -r {_FOLDER} {_COPY} || exit 1")
        said = f"{_COPY}/said"
        for step in built.prepared_in(folder):
            failed = f"{{ cat {said} >&2; exit {_REFUSED}; }}"
            steps.append(f"{shlex.join(step)} </dev/null >{said} 2>&1 || {failed}")
    steps.append(r"printf '\0000\000' >&2")  # the mark of call 0: all is ready
    steps.append(f"exec {shlex.join(worker)}")
    return ["sh", "-c", "\n".join(steps)]


def _needs(built: Built, environ: Mapping[str, str]) -> Sequence[str]:
    """The programs that the image must have."""
    needs = [] if built.prepare else [built.started_in(_FOLDER)[0]]
    return ["sh", *needs] if built.prepare or environ else needs
