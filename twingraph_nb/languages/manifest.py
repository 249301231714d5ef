"""Languages by manifest: a YAML file names a program that speaks the protocol with JSON values.

    name: perl
    command: [perl, "{worker}", "{cell}"]
    worker: worker.pl                # beside the manifest; travels with the cell
    suffix: .pl                      # of the cell's file
    image: perl:5.38                 # optional: for platforms with containers
    install: apt-get install perl    # optional: what the error says when it is not there
    streams: false                   # optional: may send `chunk` messages

A manifest is found as `TWINGRAPH_HOME/languages/NAME.yaml`, or its path is given in place of the
language's name. The worker is started with the command, `{worker}` and `{cell}` replaced by paths
and `{function}` by the name of the function; it reads and writes messages as `speaker` describes
them. The body of a `call` is a JSON list of the inputs in order; that of a `result` is a value,
or for several outputs an object by their names or a list. `plain` says how JSON is marked where
it has no word. A worker in ten lines of Perl:

    open my $io, '+<&=', $ENV{TWINGRAPH_CHANNEL};
    while (my $head = <$io>) {
        my ($kind, $tag, $length) = split ' ', $head;
        read $io, my $body, $length;
        my $value = main->can($function)->(@{decode_json $body});
        my $said = JSON::PP->new->allow_nonref->encode($value);
        syswrite $io, "result $tag " . length($said) . "\\n$said";
    }
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from twingraph_nb.component import Component
from twingraph_nb.errors import DefinitionError
from twingraph_nb.languages.base import HERE, Built, Where, kept, lines_in, tool
from twingraph_nb.languages.codec import Form

__all__ = ["ManifestLanguage", "read_manifest"]

_KEYS = {
    "name": str,
    "command": list,
    "worker": str,
    "suffix": str,
    "image": str,
    "install": str,
    "streams": bool,
}


class ManifestLanguage:
    """A language whose worker somebody else wrote.

    image: to run it in on platforms with containers, "" if the manifest names none.
    """

    form: ClassVar[Form] = "json"
    typed: ClassVar[bool] = False

    def __init__(self, said: Mapping[str, object], folder: Path) -> None:
        self.name = str(said["name"])
        self.image = str(said.get("image", ""))
        self._command = [str(part) for part in said["command"]]  # type: ignore[attr-defined]
        self._worker = folder / str(said["worker"]) if said.get("worker") else None
        self._suffix = str(said.get("suffix", ""))
        self._install = str(said.get("install", f"install {self._command[0]}"))
        self._streams = bool(said.get("streams", False))

    def check(self, component: Component) -> None:
        pass

    def streams(self, code: str, name: str) -> bool:
        return self._streams

    def build(self, component: Component, *, cache: Path, where: Where = "here") -> Built:
        first = self._command[0]
        program = tool(self.name, [first], self._install) if where == "here" else first
        code = lines_in(component)
        glue = self._worker.read_text(encoding="utf-8") if self._worker else ""
        worker, cell = f"worker{Path(self._worker or '').suffix}", f"cell{self._suffix}"

        def make(folder: Path) -> None:
            (folder / cell).write_text(code, encoding="utf-8")
            if glue:
                (folder / worker).write_text(glue, encoding="utf-8")

        folder = kept(cache, (self.name, self._command, code, glue, worker, cell), make)
        places = {
            "{worker}": f"{HERE}/{worker}",
            "{cell}": f"{HERE}/{cell}",
            "{function}": component.function.__name__,
        }
        rest = [_replaced(part, places) for part in self._command[1:]]
        return Built(folder, (program, *rest))


def read_manifest(path: Path) -> ManifestLanguage:
    """Give the language that a manifest describes.

    Raises:
        DefinitionError: it cannot be read, or says something wrong.
    """
    import yaml  # type: ignore[import-untyped]  # only for languages by manifest

    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise DefinitionError(f"the manifest {path} cannot be read: {exc}") from None
    if not isinstance(said, dict):
        raise DefinitionError(f"the manifest {path} must hold keys such as name and command")
    for key, value in said.items():
        if key not in _KEYS:
            raise DefinitionError(f"{path}: unknown key {key!r}; known are {', '.join(_KEYS)}")
        if not isinstance(value, _KEYS[key]):
            raise DefinitionError(f"{path}: {key} must be a {_KEYS[key].__name__}, not {value!r}")
    missing = [key for key in ("name", "command") if not said.get(key)]
    if missing:
        raise DefinitionError(f"{path}: needs {' and '.join(missing)}")
    if said.get("worker") and not (path.parent / said["worker"]).is_file():
        raise DefinitionError(f"{path}: there is no worker {said['worker']} beside it")
    return ManifestLanguage(said, path.parent)


def _replaced(text: str, places: Mapping[str, str]) -> str:
    return re.sub(r"\{\w+\}", lambda found: places.get(found[0], found[0]), text)
