"""What a component says about its pods, as one value, and the Job it is written as."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from twingraph_nb.errors import DefinitionError
from twingraph_nb.executors.base import Job
from twingraph_nb.executors.docker_setup import image_of
from twingraph_nb.executors.kit import bootstrap
from twingraph_nb.executors.owner import KEPT, POD_OWNER, owner_label

__all__ = [
    "CONTAINER",
    "NAME",
    "PYTHON",
    "Launch",
    "Setup",
    "job_body",
    "job_name",
    "python_launch",
    "setup_of",
    "ticket_facts",
]

NAME = "twingraph.name"
"""The label by which the watch finds whose pod it is."""
CONTAINER = "worker"
"""The container that runs tasks; `pod` may say more about it, and add others."""

_NOBODY = 65534
_KEPT = 300  # seconds a Job that is over stays when nobody is left to remove it
_SPARE = 600  # seconds above a task's timeout, for its image
_IDLE = 300.0
_LINGER = 3600.0
_PATIENCE = 60.0
_GPU = "nvidia.com/gpu"
_MOUNT = {"mount": "mountPath", "read_only": "readOnly", "sub_path": "subPath"}


@dataclass(frozen=True)
class Setup:
    """How pods are made.

    kubeconfig, context, namespace: where, "" for what the environment says. gpus: how many.
    pod: what is merged over the description of the pod. warm: pods stay for the next task.
    workers: most pods at once. idle: seconds after which an unused one is ended. patience:
    seconds for a pod that cannot be started. memory: bytes. timeout: of the task, seconds.
    linger: seconds that an answer waits when its kernel has died; 0 = its pod ends with that.
    """

    image: str
    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""
    service_account: str = ""
    gpus: int = 0
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Any, ...] = ()
    volumes: tuple[Any, ...] = ()
    image_pull_secrets: tuple[str, ...] = ()
    image_pull_policy: str = ""
    pod: Mapping[str, Any] = field(default_factory=dict)
    warm: bool = False
    workers: int = 0
    idle: float = _IDLE
    patience: float = _PATIENCE
    trust: bool = False
    cpus: float = 0.0
    memory: int = 0
    timeout: float = 0.0
    linger: float = _LINGER
    python: bool = True
    component: str = field(default="", compare=False)

    @property
    def key(self) -> str:
        """What two setups have in common that may share pods."""
        facts = {k: v for k, v in vars(self).items() if k not in ("component", "timeout")}
        return repr(sorted((k, repr(v)) for k, v in facts.items()))

    @property
    def keeps(self) -> bool:
        """True if each task has a pod that outlives the kernel."""
        return self.python and not self.warm and self.linger > 0

    @property
    def lasts(self) -> bool:
        """True if a task that takes long makes its pod, of many tasks, outlive the kernel."""
        return self.python and self.warm and self.linger > 0


@dataclass(frozen=True)
class Launch:
    """What a pod runs.

    lacks: gives the sentence for an image, named by a word or as it is written, that has not the
    program. environ: its environment; nothing secret goes there.
    """

    command: Sequence[str]
    environ: Mapping[str, str]
    lacks: Callable[[str], str]


def _no_python(image: str) -> str:
    return (
        f"{image} has no python3 on its PATH, which runs the component there: "
        "take an image with Python 3.9 or later"
    )


PYTHON = Launch(["python3", "-u", "-c"], {"PYTHONDONTWRITEBYTECODE": "1"}, _no_python)
"""What runs jobs in Python; the program in it comes with the setup."""


def python_launch(setup: Setup) -> Launch:
    """Give what runs jobs in Python in pods of a setup."""
    limit = setup.timeout + _SPARE if setup.timeout else 0.0
    linger = setup.linger if setup.keeps else 0.0
    idle = setup.idle if setup.warm else 0.0
    program = bootstrap(trust=setup.trust, linger=linger, limit=limit, idle=idle)
    return replace(PYTHON, command=[*PYTHON.command, program])


def setup_of(job: Job) -> Setup:
    """Give the setup that a job's component asks for.

    Raises:
        DefinitionError: a volume, toleration or the pod's description is not understood.
    """
    component = job.component
    options: Mapping[str, Any] = component.options
    known = Setup.__dataclass_fields__
    chosen = {k: v for k, v in options.items() if k in known and v is not None}
    chosen.setdefault("image", image_of(component))
    policy = component.policy
    chosen |= {"cpus": policy.cpus, "memory": policy.memory, "timeout": policy.timeout or 0.0}
    chosen |= {"component": component.name, "python": component.language == "python"}
    setup = Setup(**chosen)
    _template(setup, PYTHON)  # what is wrong with it is known before a cluster is asked
    return setup


def ticket_facts(setup: Setup) -> dict[str, str]:
    """Give what a ticket says of the cluster."""
    where = {"kubeconfig": setup.kubeconfig, "context": setup.context}
    return where | {"namespace": setup.namespace, "owner": owner_label()}


def job_name(component: str) -> str:
    """Give a name for a Job of no task in particular, as Kubernetes allows them, used once."""
    said = re.sub(r"[^a-z0-9]+", "-", component.lower()).strip("-")[:20].strip("-")
    return "-".join(part for part in ("tg", said, "warm", secrets.token_hex(4)) if part)


def job_body(setup: Setup, name: str, launch: Launch = PYTHON) -> dict[str, Any]:
    """Give the Job with one pod that reads jobs from its standard input.

    Nothing in it is secret: values, variables and secrets travel on the stream alone.
    """
    labels = {
        POD_OWNER: owner_label(),
        NAME: name,
        "app.kubernetes.io/managed-by": "twingraph",
        "app.kubernetes.io/component": _label(setup.component),
    }
    if setup.keeps or setup.lasts:
        labels[KEPT] = "yes"
    pod = _template(setup, launch)
    pod["metadata"]["labels"] |= labels
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": _KEPT,
            "template": pod,
        },
    }


def _template(setup: Setup, launch: Launch) -> dict[str, Any]:
    """The pod as we and the component want it, without the labels that tell whose it is."""
    metadata, spec = _overrides(setup.pod)
    ours = {"metadata": {"labels": {}}, "spec": _spec(setup, launch)}
    merged: dict[str, Any] = _merged(ours, {"metadata": metadata, "spec": spec})
    return merged


def _spec(setup: Setup, launch: Launch) -> dict[str, Any]:
    """The pod with least rights: no token of the cluster, no root, nothing to write but /tmp."""
    volumes, mounts = _volumes(setup.volumes)
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _NOBODY,
            "runAsGroup": _NOBODY,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [{"name": "tmp", "emptyDir": {}}, *volumes],
        "containers": [_container(setup, launch, mounts)],
    }
    if setup.timeout and not setup.warm:
        spec["activeDeadlineSeconds"] = math.ceil(setup.timeout + setup.linger) + _SPARE
    if setup.service_account:
        spec["serviceAccountName"] = setup.service_account
        spec["automountServiceAccountToken"] = True
    if setup.node_selector:
        spec["nodeSelector"] = dict(setup.node_selector)
    if setup.tolerations:
        if not all(isinstance(one, Mapping) for one in setup.tolerations):
            raise DefinitionError("tolerations= wants a list of dicts, as a pod's spec has them")
        spec["tolerations"] = [dict(one) for one in setup.tolerations]
    if setup.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": one} for one in setup.image_pull_secrets]
    return spec


def _container(setup: Setup, launch: Launch, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": CONTAINER,
        "image": setup.image,
        # Kubernetes puts variables in place of $(NAME) in a command.
        "command": [part.replace("$(", "$$(") for part in launch.command],
        "workingDir": "/tmp",
        "env": [
            {"name": "HOME", "value": "/tmp"},
            *({"name": name, "value": value} for name, value in launch.environ.items()),
        ],
        "stdin": True,
        "stdinOnce": not setup.keeps,  # else it ends with the connection
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *mounts],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    needs: dict[str, str] = {}
    if setup.cpus:
        needs["cpu"] = f"{math.ceil(setup.cpus * 1000)}m"
    if setup.memory:
        needs["memory"] = str(setup.memory)
    if setup.gpus:
        needs[_GPU] = str(setup.gpus)
    if needs:
        made["resources"] = {"requests": needs, "limits": dict(needs)}
    if setup.image_pull_policy:
        made["imagePullPolicy"] = setup.image_pull_policy
    return made


def _volumes(given: tuple[Any, ...]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The volumes as a pod has them, and where they are mounted."""
    volumes, mounts = [], []
    for number, one in enumerate(given, 1):
        source = dict(one) if isinstance(one, Mapping) else {}
        mount = {there: source.pop(here) for here, there in _MOUNT.items() if here in source}
        name = str(source.pop("name", f"volume-{number}"))
        if len(source) != 1 or "mountPath" not in mount:
            raise DefinitionError(
                "volumes= wants dicts of one volume each and where it is mounted, such as "
                "{'persistentVolumeClaim': {'claimName': 'data'}, 'mount': '/data', "
                f"'read_only': True}}, not {one!r}"
            )
        volumes.append({"name": name, **source})
        mounts.append({"name": name, **mount})
    return volumes, mounts


def _overrides(pod: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `pod` says about the metadata and the spec; without those words it is the spec."""
    if pod.keys() & {"metadata", "spec"}:
        surplus = sorted(pod.keys() - {"metadata", "spec", "apiVersion", "kind"})
        if surplus:
            raise DefinitionError(f"pod= has {', '.join(surplus)} beside its spec: put it inside")
        return dict(pod.get("metadata") or {}), dict(pod.get("spec") or {})
    return {}, dict(pod)


def _merged(base: Any, over: Any) -> Any:
    """One description over another: dicts key by key, lists of named things by name; None drops."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        made = dict(base)
        for key, value in over.items():
            if value is None:
                made.pop(key, None)
            else:
                made[key] = _merged(base[key], value) if key in base else value
        return made
    if _keyed(base) and _keyed(over):
        rest = {_key(one): one for one in over}
        kept = [_merged(one, rest.pop(_key(one), {})) for one in base]
        return [*kept, *rest.values()]
    return over


def _keyed(value: Any) -> bool:
    given = isinstance(value, (list, tuple)) and len(value) > 0
    return given and all(isinstance(one, Mapping) and _key(one) for one in value)


def _key(one: Mapping[str, Any]) -> str:
    """What tells the entries of a list apart: a volume may be mounted in two places."""
    return str(one.get("mountPath") or one.get("name") or "")


def _label(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text)[:63].strip("-")
