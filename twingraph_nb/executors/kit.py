"""What is sent to a far side that has Python but not this package."""

from __future__ import annotations

import functools
import io
import json
import struct
import zipfile
from collections.abc import Mapping
from importlib.resources import files

from twingraph_nb import __version__
from twingraph_nb.remote_kept import UNFED

__all__ = ["MODULES", "bootstrap", "kit_bytes", "kit_sources", "kit_zip"]

MODULES = (
    "context",
    "settled",
    "outputs",
    "wire",
    "values",
    "values_kinds",
    "values_classes",
    "values_data",
    "values_tables",
    "failure",
    "outlet",
    "rebuild",
    "remote_payloads",
    "remote",
    "remote_kept",
    "remote_orphan",
    "remote_stream",
    "remote_post",
)
"""The modules that travel. Standard library and each other only; Python 3.9 or later."""

_ROOT = '''"""The part of twingraph_nb that runs tasks elsewhere."""
from twingraph_nb.context import ctx
__version__ = {version!r}
__all__ = ["ctx"]
'''
_LENGTH = struct.Struct(">Q")
_LATER, _SPARE = 2, 60.0
"""Times `idle`, and seconds above that, within which a kernel that lives ends an idle worker."""

_BOOT = """\
import importlib.abc, importlib.util, json, os, sys
if sys.version_info < (3, 9):
    sys.exit("twingraph needs Python 3.9 or later here, this is %d.%d" % sys.version_info[:2])
def take(count):
    parts = []
    while count:
        part = os.read(0, count)
        if not part:
            os._exit(0)
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
if {alarm}:  # standard input does not end when the kernel dies before it has sent the kit
    import signal
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    signal.alarm({alarm})
size = take(8)
if size[:2] == b"tg":  # a kernel that asks for an answer, and the one before had sent no question
    os._exit(1)
kit = json.loads(take(int.from_bytes(size, "big")))
class Kit(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    def find_spec(self, name, path=None, target=None):
        if name not in kit:
            return None
        place = "<twingraph>/%s.py" % name.replace(".", "/")
        spec = importlib.util.spec_from_loader(name, self, origin=place)
        spec.has_location = True
        return spec
    def is_package(self, name):
        return name == "twingraph_nb"
    def get_source(self, name):
        return kit[name]
    def get_filename(self, name):
        return "<twingraph>/%s.py" % name.replace(".", "/")
    def get_code(self, name):
        return compile(kit[name], self.get_filename(name), "exec")
sys.meta_path.insert(0, Kit())
from twingraph_nb.remote_stream import serve
serve({options})
"""


@functools.cache
def kit_sources(more: tuple[str, ...] = ()) -> Mapping[str, str]:
    """Give the source of each module that travels, and of `more`, by its full name."""
    here = files("twingraph_nb")
    found = {"twingraph_nb": _ROOT.format(version=__version__)}
    for name in (*MODULES, *more):
        found[f"twingraph_nb.{name}"] = here.joinpath(f"{name}.py").read_text("utf-8")
    return found


@functools.cache
def kit_bytes() -> bytes:
    """Give what `bootstrap` reads first from its standard input: a length, then the sources."""
    body = json.dumps(dict(kit_sources())).encode()
    return _LENGTH.pack(len(body)) + body


def bootstrap(
    *,
    trust: bool = False,
    plain: bool = True,
    linger: float = 0.0,
    limit: float = 0.0,
    idle: float = 0.0,
) -> str:
    """Give the program for ``python3 -c`` that reads the kit and then serves jobs.

    Args:
        linger, limit: see `remote_stream.serve`. idle: seconds after which its kernel ends one
            that has no job; 0 = never.
    """
    options = f"trust={bool(trust)}, plain={bool(plain)}"
    if linger:
        options += f", linger={float(linger)!r}, limit={float(limit)!r}"
    if idle:
        options += f", quiet={_LATER * idle + _SPARE!r}"
    program = _BOOT.replace("{options}", options)
    return program.replace("{alarm}", str(UNFED if linger else 0))


def kit_zip(more: Mapping[str, bytes]) -> bytes:
    """Give the kit as a zip archive, the same bytes each time, with more files by path in it."""
    held = dict(more)
    for name, source in kit_sources().items():
        path = name.replace(".", "/")
        held[f"{path}/__init__.py" if name == "twingraph_nb" else f"{path}.py"] = source.encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(held):
            entry = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, held[path])
    return out.getvalue()
