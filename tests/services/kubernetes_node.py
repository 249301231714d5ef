"""How a node is put together: keys, tokens, configuration files and the command of each program."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["NODE", "VIEWER", "Node", "Program", "new_token"]

NODE = "node1"
VIEWER = "viewer"
SERVICE_ADDRESSES = "10.200.0.0/24"
# A Job that is done can be told to go (ttlSecondsAfterFinished): on by default from 1.21 on.
FEATURES = "TTLAfterFinished=true"


@dataclass(frozen=True, slots=True)
class Program:
    """One program of the node: the name its log goes by, and its arguments."""

    name: str
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """Where everything of a node is: folders, addresses, ports and tokens."""

    folder: Path
    programs: Path
    docker_host: str
    address: str
    pause_image: str
    ports: Mapping[str, int]
    admin_token: str
    viewer_token: str

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self.ports['apiserver']}"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def viewer_kubeconfig(self) -> Path:
        return self.folder / "viewer.kubeconfig"

    @property
    def authority(self) -> Path:
        """The certificate that the API server makes for itself at its first start."""
        return self.folder / "certs" / "apiserver.crt"

    def write(self) -> None:
        """Write keys, tokens and configuration files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._make_keys()
        lines = [
            f"{self.admin_token},admin,admin,system:masters",
            f"{self.viewer_token},{VIEWER},{VIEWER}",
        ]
        _private(self.folder / "tokens.csv", "\n".join(lines) + "\n")
        _private(self.kubeconfig, json.dumps(self._client_config(self.admin_token)))
        _private(self.viewer_kubeconfig, json.dumps(self._client_config(self.viewer_token)))
        _private(self.folder / "kubelet.yaml", json.dumps(self._kubelet_config()))

    def _make_keys(self) -> None:
        """A key for service accounts' tokens; the certificate with which the kubelet is called."""
        _openssl("genrsa", "-out", str(self.folder / "sa.key"), "2048")
        _openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"),
            *("-keyout", str(self.folder / "caller.key"), "-out", str(self.folder / "caller.crt")),
            *("-subj", "/O=system:masters/CN=apiserver"),
        )

    def _client_config(self, token: str) -> dict[str, object]:
        cluster = {"server": self.server, "certificate-authority": str(self.authority)}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "local", "cluster": cluster}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "local", "context": {"cluster": "local", "user": "user"}}],
            "current-context": "local",
        }

    def _kubelet_config(self) -> dict[str, object]:
        # It listens on the engine's bridge, where pods could reach it: only who shows the API
        # server's certificate may call it.
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": False},
                "x509": {"clientCAFile": str(self.folder / "caller.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "address": self.address,
            "port": self.ports["kubelet"],
            "readOnlyPort": 0,
            "healthzPort": 0,
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": False,
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            "makeIPTablesUtilChains": False,
            "podCIDR": self.address.rpartition(".")[0] + ".0/24",
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
            },
            "imageGCHighThresholdPercent": 100,
            "kubeAPIQPS": 100,
            "kubeAPIBurst": 200,
            "registryPullQPS": 0,
            "eventRecordQPS": 0,
            "nodeStatusUpdateFrequency": "1s",
            "volumePluginDir": str(self.folder / "plugins"),
        }

    def store(self) -> Program:
        """The database; it forgets everything with its folder, so it need not wait for the disk."""
        client = f"http://127.0.0.1:{self.ports['etcd']}"
        peer = f"http://127.0.0.1:{self.ports['etcd-peer']}"
        return Program(
            "etcd",
            (
                *("etcd", "--data-dir", str(self.folder / "etcd"), "--unsafe-no-fsync"),
                *("--listen-client-urls", client, "--advertise-client-urls", client),
                *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
                *("--initial-cluster", f"default={peer}"),
            ),
        )

    def api(self) -> Program:
        """The API server, on loopback; who comes without a token gets nothing."""
        key, caller = str(self.folder / "sa.key"), str(self.folder / "caller")
        return Program(
            "apiserver",
            (
                str(self.programs / "kube-apiserver"),
                *("--etcd-servers", f"http://127.0.0.1:{self.ports['etcd']}"),
                *("--bind-address", "127.0.0.1", "--secure-port", str(self.ports["apiserver"])),
                *("--insecure-port", "0", "--cert-dir", str(self.authority.parent)),
                *("--service-account-issuer", "https://kubernetes.default.svc"),
                *("--service-account-key-file", key, "--service-account-signing-key-file", key),
                *("--token-auth-file", str(self.folder / "tokens.csv"), "--anonymous-auth=false"),
                *("--authorization-mode", "RBAC,Node"),
                *("--service-cluster-ip-range", SERVICE_ADDRESSES, "--allow-privileged"),
                *("--kubelet-preferred-address-types", "InternalIP"),
                *("--kubelet-client-certificate", caller + ".crt"),
                *("--kubelet-client-key", caller + ".key"),
                *("--feature-gates", FEATURES),
            ),
        )

    def workers(self) -> Iterator[Program]:
        """What acts on the API server's objects: controllers, scheduler, and the node itself."""
        config = str(self.kubeconfig)
        loopback = ("--bind-address", "127.0.0.1", "--port", "0", "--leader-elect=false")
        yield Program(
            "controllers",
            (
                str(self.programs / "kube-controller-manager"),
                *("--kubeconfig", config, *loopback),
                *("--secure-port", str(self.ports["controllers"])),
                *("--cert-dir", str(self.folder / "controllers")),
                *("--service-account-private-key-file", str(self.folder / "sa.key")),
                *("--root-ca-file", str(self.authority), "--use-service-account-credentials=false"),
                *("--kube-api-qps", "200", "--kube-api-burst", "400"),
                *("--feature-gates", FEATURES),
            ),
        )
        yield Program(
            "scheduler",
            (
                str(self.programs / "kube-scheduler"),
                *("--kubeconfig", config, *loopback),
                *("--secure-port", str(self.ports["scheduler"])),
                *("--cert-dir", str(self.folder / "scheduler")),
                *("--kube-api-qps", "200", "--kube-api-burst", "400"),
            ),
        )
        yield Program(
            "kubelet",
            (
                str(self.programs / "kubelet"),
                *("--kubeconfig", config, "--config", str(self.folder / "kubelet.yaml")),
                *("--root-dir", str(self.folder / "kubelet")),
                *("--cert-dir", str(self.folder / "kubelet-certs")),
                *("--seccomp-profile-root", str(self.folder / "seccomp")),
                *("--container-runtime", "docker", "--docker-endpoint", self.docker_host),
                *("--container-runtime-endpoint", f"unix://{self.folder}/dockershim.sock"),
                *("--experimental-dockershim-root-directory", str(self.folder / "dockershim")),
                *("--pod-infra-container-image", self.pause_image),
                *("--hostname-override", NODE, "--node-ip", self.address),
            ),
        )


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_hex(16)


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
