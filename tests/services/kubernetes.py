"""A Kubernetes of one node: etcd, API, controllers, scheduler, kubelet, on the tests' engine.

The API is on the loopback, by token; pods are containers of the tests' Docker engine. What an
image must be called and that it is on the node is said in the address: nothing can be pulled.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import docker
from docker.errors import DockerException

from tests.services.base import Place, Service, free_port, healthy, state
from tests.services.images import python_image
from tests.services.kubernetes_node import NODE, VIEWER, Node, Program, new_token
from tests.services.kubernetes_programs import programs

__all__ = ["Kubernetes"]

UP = 90.0  # seconds for each of API, node and service account
EMPTY = 15.0  # seconds for the pods to go at the end
ANSWER = 10.0
PORTS = ("etcd", "etcd-peer", "apiserver", "controllers", "scheduler")
# It must end on TERM: the engine waits 10 s before it kills what holds a pod's network.
PAUSE = ("sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done")
POD = "io.kubernetes.pod.uid"  # the label of every container that a kubelet starts

RBAC = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": VIEWER},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
    "subjects": [{"kind": "User", "name": VIEWER, "apiGroup": "rbac.authorization.k8s.io"}],
}


class Kubernetes(Service):
    """Address: ``kubeconfig``, ``viewer_kubeconfig`` (may read, not create), ``image``, ``node``.

    ``image`` is a Python that is on the node: `imagePullPolicy` IfNotPresent or Never.
    """

    name: ClassVar[str] = "kubernetes"
    needs: ClassVar[Mapping[str, str]] = {"etcd": "etcd-server", "openssl": "openssl"}

    def start(self, place: Place) -> Mapping[str, str]:
        engine = place.use("docker")
        image = python_image()
        ports = {each: free_port() for each in PORTS} | {"kubelet": free_port(engine["gateway"])}
        node = Node(
            folder=place.run,
            programs=programs(),
            docker_host=engine["host"],
            address=engine["gateway"],
            pause_image=_pause_image(engine["host"], image),
            ports=ports,
            admin_token=new_token(),
            viewer_token=new_token(),
        )
        node.write()
        self._run(place, node)
        return {
            "kubeconfig": str(node.kubeconfig),
            "viewer_kubeconfig": str(node.viewer_kubeconfig),
            "image": image,
            "node": NODE,
        }

    def _run(self, place: Place, node: Node) -> None:
        """Start everything and wait until pods can be started."""

        def spawn(program: Program) -> None:
            place.spawn(program.name, *program.argv)

        def ready(check: Callable[[Callable[..., Any]], bool]) -> Callable[[], bool]:
            def tried() -> bool:
                # The certificate, the port and the objects come into being while we ask.
                try:
                    return check(_caller(node.kubeconfig))
                except (OSError, KeyError):
                    return False

            return tried

        spawn(node.store())
        spawn(node.api())
        healthz = ready(lambda call: bool(call("GET", "/readyz")))
        place.wait(healthz, seconds=UP, reason="the API is not ready")
        for program in node.workers():
            spawn(program)
        _caller(node.kubeconfig)("POST", RBAC, BINDING)
        place.wait(ready(_node_is_ready), seconds=UP, reason="the node is not ready")
        place.wait(ready(_account_exists), seconds=UP, reason="no default service account")

    def quiesce(self, place: Place, address: Mapping[str, str]) -> None:
        """Delete what runs while the kubelet can still put away its volumes and logs."""
        call = _caller(Path(address["kubeconfig"]))
        now = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        try:
            for kind, group in (("jobs", "/apis/batch/v1"), ("pods", "/api/v1")):
                for each in json.loads(call("GET", f"{group}/{kind}"))["items"]:
                    meta = each["metadata"]
                    path = f"{group}/namespaces/{meta['namespace']}/{kind}/{meta['name']}"
                    with contextlib.suppress(urllib.error.HTTPError):
                        call("DELETE", path, now)
        except OSError:
            return
        end = time.monotonic() + EMPTY
        while time.monotonic() < end:
            # Those that have ended stay until the kubelet's next round, a minute later.
            with _containers(running=True) as left:
                if not left:
                    return
            time.sleep(0.1)

    def clean(self, place: Place) -> None:
        with contextlib.suppress(DockerException), _containers() as left:
            for each in left:
                each.remove(force=True, v=True)
        # Secrets and tokens are mounted into pods as file systems of their own.
        for mount in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            point = mount.split(" ")[1].replace("\\040", " ")
            if Path(point).is_relative_to(place.run):
                subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)


def _caller(kubeconfig: Path) -> Callable[..., Any]:
    """A function (method, path, body) that asks the API server as its administrator."""
    said = json.loads(kubeconfig.read_text())
    cluster, token = said["clusters"][0]["cluster"], said["users"][0]["user"]["token"]

    def call(method: str, path: str, body: object = None) -> bytes:
        trust = ssl.create_default_context(cafile=cluster["certificate-authority"])
        request = urllib.request.Request(
            cluster["server"] + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, context=trust, timeout=ANSWER) as answer:
            found: bytes = answer.read()
        return found

    return call


def _node_is_ready(call: Callable[..., Any]) -> bool:
    conditions = json.loads(call("GET", f"/api/v1/nodes/{NODE}"))["status"]["conditions"]
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _account_exists(call: Callable[..., Any]) -> bool:
    account = json.loads(call("GET", "/api/v1/namespaces/default/serviceaccounts/default"))
    return bool(account["secrets"])


def _pause_image(host: str, image: str) -> str:
    """An image that does nothing for as long as it may: it holds a pod's network."""
    name = f"twingraph-tests/pause:{image.rpartition(':')[2]}"
    client = docker.APIClient(base_url=host, version="auto")
    try:
        if not client.images(name):
            made = client.create_container(image, list(PAUSE))["Id"]
            client.commit(made, *name.split(":"))
            client.remove_container(made)
    finally:
        client.close()
    return name


@contextlib.contextmanager
def _containers(*, running: bool = False) -> Iterator[list[Any]]:
    """The pods' containers, or only the running ones, on the tests' engine, none if it is down."""
    engine = state("docker")
    if engine is None or not healthy(engine):
        yield []
        return
    with contextlib.closing(docker.DockerClient(engine.address["host"], version="auto")) as client:
        yield client.containers.list(all=not running, filters={"label": POD}, sparse=True)
