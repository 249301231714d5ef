"""The files of a small Linux with this Python in it, as a tar of what is installed here."""

from __future__ import annotations

import glob
import importlib.metadata
import io
import os
import py_compile
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tests.services.processes import program

__all__ = ["Rootfs"]

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
PREFIX = PurePosixPath("/usr/local")
STDLIB = PREFIX / "lib" / VERSION
SITE = STDLIB / "site-packages"
BASE = (
    "sh", "cat", "chmod", "cp", "date", "dd", "echo", "env", "false", "head", "id", "ls", "mkdir",
    "mv", "printf", "rm", "seq", "sleep", "tail", "test", "touch", "true", "uname", "wc",
)  # fmt: skip
UNWANTED = {
    "test", "tests", "idlelib", "lib2to3", "turtledemo", "tkinter", "ensurepip", "site-packages",
    "dist-packages",
}  # fmt: skip
ALWAYS = (
    "libgcc_s.so.1", "libstdc++.so.6", "libnss_files.so.2", "libnss_dns.so.2",
    "libdl.so.2", "libpthread.so.0", "librt.so.1",
)  # fmt: skip
"""Not linked to the interpreter: it opens the first to end threads; compiled code needs the others,
also that of packages which come later."""
FOLDERS = ("/home", "/proc", "/sys", "/dev", "/run", "/data", "/usr/sbin", "/usr/lib64")
TEXTS = {
    "/etc/passwd": "root:x:0:0:root:/home:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "/etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
COPIED = ("/etc/ssl/certs/ca-certificates.crt",)
ZONES = Path("/usr/share/zoneinfo")
TAG = sys.implementation.cache_tag
PYC_HEADER = 16  # bytes: magic, flags, mtime, size of the source


@dataclass
class Rootfs:
    """What is to be in the image: place there -> file here. Nothing is read before `write`."""

    files: dict[PurePosixPath, Path] = field(default_factory=dict)
    links: dict[PurePosixPath, str] = field(default_factory=dict)
    binaries: list[Path] = field(default_factory=list)

    def add_interpreter(self) -> None:
        """The running Python with its standard library, a shell, zones and certificates."""
        base = sys.base_prefix
        exe = Path(os.path.realpath(Path(base, "bin", VERSION)))
        self.files[PREFIX / "bin" / VERSION] = exe
        self.binaries.append(exe)
        for name in ("python", "python3"):
            self.links[PREFIX / "bin" / name] = VERSION
        variables = {"base": base, "installed_base": base, "platbase": base}
        self._tree(Path(sysconfig.get_path("stdlib", "posix_prefix", variables)), STDLIB)
        self.add_programs(BASE)
        for each in COPIED:
            if Path(each).exists():
                self.files[PurePosixPath(each)] = Path(os.path.realpath(each))
        for top in ("Africa", "America", "Asia", "Australia", "Europe", "Etc", "Pacific", "UTC"):
            for zone in _below(ZONES / top):
                self.files[PurePosixPath(zone)] = Path(os.path.realpath(zone))

    def add_programs(self, names: Sequence[str | Path]) -> None:
        """Programs, which come to lie in /usr/bin; raises `LookupError` for one that is missing."""
        for name in names:
            found = program(str(name))
            if found is None:
                raise LookupError(f"no program {str(name)!r} on this machine")
            path = Path(os.path.realpath(found))
            self.files[PurePosixPath("/usr/bin", Path(name).name)] = path
            self.binaries.append(path)

    def add_distribution(self, package: importlib.metadata.Distribution) -> None:
        """The files of an installed distribution, without its tests and its scripts."""
        for each in package.files or ():
            if each.parts[0] != ".." and not UNWANTED & set(each.parts[:-1]):
                self._file(Path(str(package.locate_file(each))), SITE / PurePosixPath(each))

    def add_package(self, folder: Path) -> None:
        """A folder, which comes to lie in site-packages."""
        if not folder.is_dir():
            raise LookupError(f"no folder {folder}")
        self._tree(folder, SITE / folder.name)

    def content(self) -> list[tuple[str, int, int]]:
        """(place, bytes, time of change) of each file: what an image of them is named by."""
        stats = ((str(place), self.files[place].stat()) for place in sorted(self.files))
        return [(place, stat.st_size, stat.st_mtime_ns) for place, stat in stats]

    def write(self, path: Path) -> None:
        """Write all of it as a tar, with the libraries that the programs and modules need."""
        self._libraries()
        with tarfile.open(path, "w") as tar, tempfile.TemporaryDirectory() as scratch:
            made = _Writer(tar)
            for name in ("bin", "lib", "lib64", "sbin"):  # one /usr, as in Debian
                made.link(PurePosixPath("/", name), f"usr/{name}")
            made.folder(PurePosixPath("/tmp"), 0o1777)
            made.folder(PurePosixPath("/var/tmp"), 0o1777)
            for folder in FOLDERS:
                made.folder(PurePosixPath(folder))
            made.folder(SITE)
            for path_there, text in TEXTS.items():
                made.text(PurePosixPath(path_there), text)
            for place, target in self.links.items():
                made.link(place, target)
            for place, source in sorted(self.files.items()):
                made.file(place, source)
                if place.suffix == ".py":
                    compiled = _compiled(source, Path(scratch, "made.pyc"))
                    if compiled is not None:
                        cache = place.parent / "__pycache__" / f"{place.stem}.{TAG}.pyc"
                        made.file(cache, compiled)

    def _tree(self, source: Path, place: PurePosixPath) -> None:
        for each in _below(source):
            self._file(each, place / PurePosixPath(each.relative_to(source)))

    def _file(self, source: Path, place: PurePosixPath) -> None:
        if source.suffix in (".pyc", ".a"):
            return
        if not source.is_file():  # listed by a package that was edited afterwards
            return
        self.files[place] = source
        if ".so" in source.suffixes:
            self.binaries.append(source)

    def _libraries(self) -> None:
        here = {str(path) for path in self.files.values()}
        needed = set(_linked(self.binaries))
        for name in ALWAYS:
            needed.update(glob.glob(f"/lib/*-linux-gnu*/{name}"))
        for each in sorted(needed - here):
            place = f"/usr{each}" if each.startswith(("/lib/", "/lib64/")) else each
            self.files.setdefault(PurePosixPath(place), Path(os.path.realpath(each)))


class _Writer:
    """A tar in which the folder of each entry comes before it, all owned by root."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self.tar = tar
        self.folders = {PurePosixPath("/")}

    def folder(self, place: PurePosixPath, mode: int = 0o755) -> None:
        if place in self.folders:
            return
        self.folder(place.parent)
        self.folders.add(place)
        self.tar.addfile(self._entry(place, mode, tarfile.DIRTYPE))

    def link(self, place: PurePosixPath, target: str) -> None:
        self.folder(place.parent)
        entry = self._entry(place, 0o777, tarfile.SYMTYPE)
        entry.linkname = target
        self.tar.addfile(entry)

    def text(self, place: PurePosixPath, text: str) -> None:
        self.folder(place.parent)
        entry = self._entry(place, 0o644)
        entry.size = len(text.encode())
        self.tar.addfile(entry, io.BytesIO(text.encode()))

    def file(self, place: PurePosixPath, source: Path) -> None:
        self.folder(place.parent)
        stat = source.stat()
        # Readable by everybody, as `nobody` needs it; the time is part of what a .pyc checks.
        entry = self._entry(place, 0o755 if stat.st_mode & 0o111 else 0o644)
        entry.size, entry.mtime = stat.st_size, int(stat.st_mtime)
        with source.open("rb") as data:
            self.tar.addfile(entry, data)

    @staticmethod
    def _entry(place: PurePosixPath, mode: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
        entry = tarfile.TarInfo(str(place).lstrip("/"))
        entry.type, entry.mode = kind, mode
        return entry


def _below(folder: Path) -> Iterator[Path]:
    """Each file of a tree; a file itself; none when there is nothing."""
    if folder.is_file():
        yield folder
    for parent, folders, names in os.walk(folder):
        folders[:] = [
            each for each in sorted(folders)
            if each not in UNWANTED and each != "__pycache__" and not each.startswith("config-")
        ]  # fmt: skip
        yield from (Path(parent, name) for name in sorted(names))


def _linked(binaries: Iterable[Path]) -> Iterator[str]:
    """The shared libraries that programs and modules are linked to, as absolute paths."""
    words = [str(each) for each in binaries]
    said = subprocess.run(["ldd", *words], capture_output=True, text=True, check=False).stdout
    found = re.findall(r"(?:=> |^\s+)(/\S+) \(0x", said, re.MULTILINE)
    yield from map(os.path.normpath, found)  # $ORIGIN leaves its dots in them


def _compiled(source: Path, scratch: Path) -> Path | None:
    """The bytecode of a module; the one beside it if it fits. Without any, each start compiles."""
    stat = source.stat()
    known = source.parent / "__pycache__" / f"{source.stem}.{TAG}.pyc"
    if known.is_file():
        with known.open("rb") as file:
            head = file.read(PYC_HEADER)
        times = int(stat.st_mtime).to_bytes(4, "little") + (stat.st_size).to_bytes(4, "little")
        if head[4:8] == bytes(4) and head[8:] == times:
            return known
    try:
        py_compile.compile(str(source), cfile=str(scratch), doraise=True, quiet=1)
    except py_compile.PyCompileError:  # a template, or a sample of bad code
        return None
    return scratch
