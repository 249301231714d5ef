"""Services of the tests: started when first asked for, shared by all who ask, gone with the last.

Whoever asks becomes a user of the service: a pytest session (all its workers together), or a
person ("hand", by ``python -m tests.services up``). A service is stopped when its last user has
left; a session that dies without leaving is noticed by a guard process and leaves that way.
Everything is kept below ``out/services/<name>``: the lock, the state, logs and data.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import shutil
import socket
import sys
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from tests.services import processes

__all__ = [
    "FOLDER", "HAND", "SERVICES", "SESSION", "Place", "Service", "ServiceFailed", "ServiceMissing",
    "State", "ensure", "free_port", "guard", "healthy", "leave", "leave_all", "load", "locked",
    "state", "stop",
]  # fmt: skip

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "out" / "services"
SESSION = "TWINGRAPH_TESTS_SESSION"
"""The environment variable with the identity of the pytest session; without it we are `HAND`."""
HAND = "hand"
SERVICES = {
    "docker": "tests.services.docker:Docker",
    "redis": "tests.services.redis:Redis",
    "kubernetes": "tests.services.kubernetes:Kubernetes",
    "aws": "tests.services.aws:Aws",
}
ATTEMPTS = 2  # the second with a new port and without the data of before
LOG_TAIL = 2_000  # bytes of a log in an error


class ServiceMissing(Exception):
    """What a service of the tests is made of is not installed."""

    def __init__(self, service: str, missing: Mapping[str, str]) -> None:
        self.service, self.missing = service, dict(missing)
        packages = " ".join(sorted(set(missing.values())))
        super().__init__(
            f"the tests' {service} needs {', '.join(missing)}, which is not installed: `make test` "
            f"installs binder/apt.txt (as root), or by hand: apt-get install {packages}"
        )


class ServiceFailed(Exception):
    """A service did not come up, or ended while it was waited for; with the end of its log."""

    def __init__(self, service: str, reason: str, log: str = "") -> None:
        self.service, self.reason = service, reason
        super().__init__(f"the tests' {service} did not start: {reason}\n{log}".rstrip())


@dataclass(frozen=True)
class State:
    """What is known of a running service. started: its identity in time, for those above it."""

    address: Mapping[str, str]
    processes: Mapping[str, str]
    on: Mapping[str, str]
    users: tuple[str, ...]
    started: str


class Place:
    """Where one service lives, and what it has started there.

    folder: kept between starts. run: a short path for sockets, empty at the start and gone at the
    end (a socket's path has at most 107 bytes). processes: name -> identity.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.run = Path("/tmp", f"twingraph-tests-{os.getuid()}-{self.number:08x}")
        self.processes: dict[str, str] = {}
        self.on: dict[str, str] = {}

    @property
    def number(self) -> int:
        """A number of this folder on this machine, to name or place things by; below 2**32."""
        return zlib.crc32(str(self.folder).encode())

    def prepare(self) -> None:
        """Make both folders, the second one anew and closed to other users."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.run, ignore_errors=True)
        self.run.mkdir(mode=0o700)
        for log in self.folder.glob("*.log"):
            log.unlink()
        (self.folder / processes.PIDS).unlink(missing_ok=True)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def spawn(self, name: str, *command: str, env: Mapping[str, str] | None = None) -> str:
        """Start a process that belongs to the service; its output goes to ``<name>.log``."""
        environment = {**os.environ, **(env or {}), processes.MARK: str(self.folder)}
        self.processes[name] = processes.start(command, self.log(name), environment)
        with open(self.folder / processes.PIDS, "a") as file:
            print(self.processes[name], file=file)
        return self.processes[name]

    def use(self, name: str) -> Mapping[str, str]:
        """The address of another service, which this one then stands on."""
        address = ensure(name)
        self.on[name] = _started(name)
        return address

    def wait(self, ready: Callable[[], bool], *, seconds: float, reason: str) -> None:
        """Return when `ready()`; raise `ServiceFailed` if it takes too long or one of ours ends."""
        end = time.monotonic() + seconds
        while not ready():
            for name, each in self.processes.items():
                if not processes.alive(each):
                    raise ServiceFailed(self.name, f"{name} has ended", self.tail(name))
            if time.monotonic() > end:
                name = next(reversed(self.processes), "")
                raise ServiceFailed(self.name, f"{reason} after {seconds:g} s", self.tail(name))
            time.sleep(0.05)

    def tail(self, name: str) -> str:
        log = self.log(name)
        return log.read_text(errors="replace")[-LOG_TAIL:] if log.exists() else ""


class Service(ABC):
    """One kind of service. needs: program -> Debian package. grace: seconds from TERM to KILL."""

    name: ClassVar[str]
    needs: ClassVar[Mapping[str, str]] = {}
    grace: ClassVar[float] = 5.0

    @abstractmethod
    def start(self, place: Place) -> Mapping[str, str]:
        """Start it with `place.spawn`, wait with `place.wait`, give its address (text only)."""

    # What many services do not need is empty on purpose.

    def quiesce(self, place: Place, address: Mapping[str, str]) -> None:  # noqa: B027
        """Called before its processes are ended, while it runs: put down what it carries."""

    def clean(self, place: Place) -> None:  # noqa: B027
        """Called when none of its processes is left: undo what is not below the two folders."""

    def forget(self, place: Place) -> None:  # noqa: B027
        """Called when it did not start: remove kept data that may be the cause."""

    def check(self) -> None:
        """Raise `ServiceMissing` unless all that it needs is installed."""
        missing = {each: self.needs[each] for each in self.needs if not processes.program(each)}
        if missing:
            raise ServiceMissing(self.name, missing)


def load(name: str) -> Service:
    """The service of this name; raises `KeyError` with the known names."""
    if name not in SERVICES:
        raise KeyError(f"no service {name!r}; there are: {', '.join(SERVICES)}")
    module, _, attribute = SERVICES[name].partition(":")
    made: Service = getattr(importlib.import_module(module), attribute)()
    return made


def ensure(name: str) -> Mapping[str, str]:
    """The address of a running service, started or replaced if need be; we become its user.

    Raises:
        ServiceMissing: it is not installed.
        ServiceFailed: it does not come up.
    """
    with locked(name):
        known = state(name)
        if known is None or not healthy(known):
            users = known.users if known else ()
            known = _start(load(name), users)
        joined = _join(name, known)
    for below in joined.on:
        ensure(below)  # else it would end with the session that started both
    return joined.address


def leave(name: str, user: str) -> None:
    """Stop being a user of a service; the last one stops it. Users that have died leave too."""
    with locked(name):
        known = state(name)
        if known is None:
            _end(name, None)  # a start that was interrupted has left no state
            return
        users = tuple(each for each in known.users if each != user and _present(each))
        if users:
            _write(name, State(**{**asdict(known), "users": users}))
        else:
            _end(name, known)


def leave_all(user: str) -> None:
    """Leave every service, those first that stand on others."""
    for name in reversed(SERVICES):
        if (FOLDER / name).exists():
            leave(name, user)


def stop(name: str) -> None:
    """Stop a service, whoever uses it."""
    with locked(name):
        _end(name, state(name))


def guard(name: str, user: str) -> None:
    """Wait for the end of a session, then leave for it, if it could not itself."""
    processes.wait_for_end(user)
    leave(name, user)


def state(name: str) -> State | None:
    """What is written down of a service; None when it was never started or is stopped."""
    try:
        said = json.loads((FOLDER / name / "state.json").read_text())
        return State(**{**said, "users": tuple(said["users"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):  # of another version of this file
        return None


def healthy(known: State) -> bool:
    """Whether all its processes run, and those of the services below it are still the same."""
    ours = all(processes.alive(each) for each in known.processes.values())
    return ours and all(_started(name) == started for name, started in known.on.items())


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time; given back by the system when its holder dies."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / f"{name}.lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _user() -> str:
    return os.environ.get(SESSION, HAND)


def _present(user: str) -> bool:
    return user == HAND or processes.alive(user)


def _started(name: str) -> str:
    known = state(name)
    return known.started if known and healthy(known) else ""


def _start(service: Service, users: tuple[str, ...]) -> State:
    service.check()
    for attempt in range(1, ATTEMPTS + 1):
        place = Place(service.name, FOLDER / service.name)
        _clear(service, place)
        place.prepare()
        try:
            address = service.start(place)
        except ServiceFailed:
            processes.sweep(place.folder)
            if attempt == ATTEMPTS:
                service.clean(place)
                raise
            service.forget(place)
        except BaseException:  # an interrupt too must leave nothing behind
            _clear(service, place)
            raise
        else:
            return State(address, place.processes, place.on, users, str(time.time_ns()))
    raise AssertionError("unreachable")


def _clear(service: Service, place: Place) -> None:
    processes.sweep(place.folder)
    service.clean(place)
    shutil.rmtree(place.run, ignore_errors=True)


def _end(name: str, known: State | None) -> None:
    service, place = load(name), Place(name, FOLDER / name)
    if known is not None and healthy(known):
        service.quiesce(place, known.address)
        processes.sweep(place.folder, grace=service.grace)
    _clear(service, place)
    (place.folder / "state.json").unlink(missing_ok=True)


def _join(name: str, known: State) -> State:
    user = _user()
    users = tuple(each for each in known.users if each == user or _present(each))
    if user not in users:
        users = (*users, user)
    joined = State(**{**asdict(known), "users": users})
    if user not in known.users:
        _write(name, joined)
        if user != HAND:
            _start_guard(name, user)
    elif joined != known or state(name) != known:
        _write(name, joined)
    return joined


def _write(name: str, known: State) -> None:
    """Write the state down whole or not at all, for our own eyes: it may hold a password."""
    path = FOLDER / name / "state.json"
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(known), file)
    draft.replace(path)


def _start_guard(name: str, user: str) -> None:
    """Start the process that leaves for a session which was killed. It ends soon after it."""
    words = (sys.executable, "-m", "tests.services", "guard", str(FOLDER), name, user)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes.start(words, FOLDER / "guard.log", environment)
