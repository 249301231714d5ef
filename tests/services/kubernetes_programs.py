"""Kubernetes' own programs: unpacked from an archive beside the checkout, or built once."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.services.base import ROOT, ServiceFailed, locked

__all__ = ["programs"]

VERSION = "1.20.2"
NAMES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
ARCHIVE = ROOT.parent / "shared/recipes/kubernetes" / f"kubernetes-{VERSION}-linux-amd64.tar.xz"
BUILD = Path(__file__).with_name("kubernetes_build.sh")


def programs() -> Path:
    """The folder with the programs; the first call unpacks (seconds) or builds them (10 minutes).

    They are kept in the user's cache, since `make clean` should not cost a build.

    Raises:
        ServiceFailed: there is no archive, and the build failed.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "twingraph-tests" / f"kubernetes-{VERSION}"
    with locked("kubernetes-programs"):
        if not _whole(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if ARCHIVE.exists():
                _unpack(folder)
            else:
                _build(folder)
    return folder


def _whole(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in NAMES)


def _unpack(folder: Path) -> None:
    with tarfile.open(ARCHIVE) as archive:
        for name in NAMES:
            draft = folder / f"{name}.draft"
            with archive.extractfile(name) as source, open(draft, "wb") as target:  # type: ignore[union-attr]
                while piece := source.read(1 << 20):
                    target.write(piece)
            draft.chmod(0o755)
            draft.rename(folder / name)


def _build(folder: Path) -> None:
    log = folder.with_name(f"{folder.name}.log")
    print(f"Building Kubernetes {VERSION} once, about 10 minutes; see {log}", file=sys.stderr)
    with open(log, "wb") as output:
        words = ["bash", str(BUILD), str(folder)]
        done = subprocess.run(words, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        tail = log.read_text(errors="replace")[-2000:]
        raise ServiceFailed("kubernetes", f"{BUILD.name} ended with {done.returncode}", tail)


def main() -> None:
    """Have the programs ready before tests are timed; what is wrong, a test will say again."""
    try:
        programs()
    except ServiceFailed as exc:
        print(exc, file=sys.stderr)


if __name__ == "__main__":
    main()
