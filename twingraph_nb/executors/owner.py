"""Whose a container or pod is: a label that names a kernel's process, and if that is gone."""

from __future__ import annotations

import functools
import hashlib
import os
import socket

__all__ = [
    "KEPT",
    "LONGEST",
    "OWNER",
    "POD_OWNER",
    "is_alive",
    "is_orphan",
    "owner_label",
    "this_machine",
]

OWNER = "twingraph.owner"
"""The label that tells which kernel a container belongs to."""
POD_OWNER = "twingraph.pod-owner"
"""The same of a pod or a Job: a node's containers bear their pods' labels, and the cluster ends
them."""
KEPT = "twingraph.kept"
"""The label of a container or Job that may go on when its kernel has died, to be found again; one
that does not ends by itself."""
LONGEST = 7 * 24 * 3600.0
"""Seconds after its start for which nobody takes one that still runs for left over."""

_NOTHING = "0"


@functools.cache
def owner_label() -> str:
    """Give what names this kernel's process: machine, process id and its start time.

    Letters, digits and dots, at most 63 of them, as Kubernetes wants a label's value.
    """
    pid = os.getpid()
    return f"{_machine()}.{pid}.{_started_at(pid) or _NOTHING}"


def is_orphan(label: str) -> bool:
    """True if the label's kernel was on this machine and is gone."""
    machine, _, rest = label.partition(".")
    pid, _, started = rest.partition(".")
    if machine != _machine() or not pid.isdigit() or started == _NOTHING:
        return False
    return _started_at(int(pid)) != started


def is_alive(label: str) -> bool:
    """True if the label's kernel is on this machine and runs."""
    machine, _, rest = label.partition(".")
    pid, _, started = rest.partition(".")
    return machine == _machine() and pid.isdigit() and _started_at(int(pid)) == started


@functools.cache
def this_machine() -> str:
    """Give what tells this machine from others, the same after it was started again."""
    id = ""
    try:
        with open("/etc/machine-id") as file:
            id = file.read().strip()
    except OSError:
        pass
    name = socket.gethostname().partition(".")[0]
    return f"{name} {hashlib.sha256(id.encode()).hexdigest()[:8]}" if id else name


@functools.cache
def _machine() -> str:
    """This boot of the machine, and the space of process ids: containers of one machine share
    the first, and would take each other's kernels for dead without the second."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            facts = f"{file.read().strip()} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        facts = socket.gethostname()
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def _started_at(pid: int) -> str:
    """When a process of this machine was started, "" if there is none of that number."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""
