"""A Docker engine of our own: its data, socket, containerd and bridge are apart from any other's.

Made of Debian's ``docker.io``. The engine keeps its hands off the machine's firewall
(``--iptables=false``), because two engines would flush each other's chains; the few rules that let
containers out through our bridge are added and removed here.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import docker
from docker.errors import DockerException

from tests.services.base import Place, Service, ServiceFailed
from tests.services.processes import program

__all__ = ["REPOSITORY", "Docker"]

REPOSITORY = "twingraph-tests/python"
"""The name of the images of the tests, which stay in the engine's data between sessions."""
KEPT = 12  # of them; the oldest beyond are removed when an engine starts

SYS_RESOURCE = 24  # bit of CAP_SYS_RESOURCE in capabilities(7)
POOLS = tuple(ipaddress.IPv4Network("10.192.0.0/12").subnets(new_prefix=20))
"""Where our containers' networks may be: one pool an engine, cut into networks of /24."""
UP, ANSWER = 60.0, 10.0  # seconds until the engine answers, and for one answer
IPTABLES = ("iptables", "--wait")
NAME = "tgt{:08x}"  # of the bridge; an interface's name has at most 15 bytes

RUNC = """\
#!/bin/sh
# Without CAP_SYS_RESOURCE a process must not lower its oom_score_adj, and runc gives up over it.
before=
for word in "$@"; do
  if [ "$before" = --bundle ]; then
    sed -i 's/"oomScoreAdj":-[0-9][0-9]*/"oomScoreAdj":0/' "$word/config.json"
  fi
  before=$word
done
exec runc "$@"
"""
CONTAINERD = """\
version = 2
root = {root}
state = {state}
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = {address}
[plugins."io.containerd.internal.v1.opt"]
  path = {opt}
"""


class Docker(Service):
    """Address: ``host`` ("unix://..."), ``gateway`` (the machine as containers see it), ``subnet``.

    Without root the engine of DOCKER_HOST (or the machine's own) is used and left as it is.
    """

    name: ClassVar[str] = "docker"
    grace: ClassVar[float] = 10.0

    needs: ClassVar[Mapping[str, str]] = {
        "dockerd": "docker.io", "containerd": "containerd", "runc": "runc", "tini": "tini",
        "iptables": "iptables", "ip": "iproute2",
    }  # fmt: skip

    def check(self) -> None:
        if os.geteuid() == 0:
            super().check()

    def start(self, place: Place) -> Mapping[str, str]:
        if os.geteuid() != 0:
            return _engine_of_the_machine()
        bridge, pool = NAME.format(place.number), _free_pool(place.number)
        network = next(pool.subnets(new_prefix=24))
        gateway = network[1]
        # A fixed address: else the bridge takes on that of a container, another one when that ends,
        # and the others talk to nobody until they have noticed.
        address = "02:42:" + place.number.to_bytes(4, "big").hex(":")
        _run("ip", "link", "add", "name", bridge, "address", address, "type", "bridge")
        _run("ip", "address", "add", f"{gateway}/{network.prefixlen}", "dev", bridge)
        _run("ip", "link", "set", bridge, "up")
        _let_through(str(pool), bridge)
        host = f"unix://{place.run}/docker.sock"
        containerd = _start_containerd(place)
        runtime = _runtime(place.run)
        place.spawn(
            "dockerd", "dockerd", f"--host={host}", f"--bridge={bridge}", "--iptables=false",
            f"--containerd={containerd}", f"--data-root={place.folder / 'data'}",
            f"--exec-root={place.run / 'exec'}", f"--pidfile={place.run / 'docker.pid'}",
            f"--init-path={program('tini')}", f"--host-gateway-ip={gateway}",
            f"--default-address-pool=base={pool},size=24",
            "--shutdown-timeout=3", "--config-file", str(_configuration(place, runtime)),
        )  # fmt: skip
        place.wait(lambda: _answers(host), seconds=UP, reason="the engine does not answer")
        _prune(host)
        return {"host": host, "gateway": str(gateway), "subnet": str(network)}

    def quiesce(self, place: Place, address: Mapping[str, str]) -> None:
        if not place.run.exists():  # not our engine
            return
        with contextlib.suppress(DockerException), _client(address["host"]) as client:
            for each in client.containers(all=True):
                with contextlib.suppress(DockerException):
                    client.remove_container(each["Id"], force=True, v=True)
            client.prune_networks()
            client.prune_volumes()

    def clean(self, place: Place) -> None:
        if os.geteuid() != 0:
            return
        _remove_network(NAME.format(place.number))
        for mount in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            point = Path(mount.split(" ")[1].replace("\\040", " "))
            if point.is_relative_to(place.folder) or point.is_relative_to(place.run):
                _tried("umount", "--lazy", str(point))
        # What ran when an engine was killed is not wanted back; the images are.
        for each in ("containers", "network", "volumes"):
            shutil.rmtree(place.folder / "data" / each, ignore_errors=True)

    def forget(self, place: Place) -> None:
        self.clean(place)
        shutil.rmtree(place.folder / "data", ignore_errors=True)


def _engine_of_the_machine() -> Mapping[str, str]:
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if not _answers(host):
        raise ServiceFailed("docker", f"an engine of our own needs root, and {host} is silent")
    with _client(host) as client:
        settings = client.inspect_network("bridge")["IPAM"]["Config"][0]
    network = ipaddress.ip_network(settings["Subnet"])
    return {
        "host": host,
        "gateway": settings.get("Gateway", str(network[1])),
        "subnet": str(network),
    }


def _start_containerd(place: Place) -> str:
    """Start a containerd; gives its socket once that is there."""
    listening, settings = place.run / "containerd.sock", place.run / "containerd.toml"
    text = CONTAINERD.format(
        root=json.dumps(str(place.folder / "data" / "containerd")),
        state=json.dumps(str(place.run / "containerd")),
        opt=json.dumps(str(place.run / "opt")),
        address=json.dumps(str(listening)),
    )
    settings.write_text(text)
    place.spawn("containerd", "containerd", "--config", str(settings))
    place.wait(listening.exists, seconds=UP, reason="containerd has no socket")
    return str(listening)


def _runtime(folder: Path) -> Path | None:
    """The stand-in for runc where the machine needs one; None where runc itself will do."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    if effective >> SYS_RESOURCE & 1:
        return None
    path = folder / "runc"
    path.write_text(RUNC.replace("exec runc", f"exec {program('runc')}"))
    path.chmod(0o755)
    return path


def _configuration(place: Place, runtime: Path | None) -> Path:
    """The engine's settings file; the machine's own /etc/docker/daemon.json is not read."""
    said: dict[str, object] = {"log-level": "warn"}
    if runtime is not None:
        said |= {"runtimes": {"tests": {"path": str(runtime)}}, "default-runtime": "tests"}
    path = place.run / "daemon.json"
    path.write_text(json.dumps(said))
    return path


def _free_pool(number: int) -> ipaddress.IPv4Network:
    """A pool that no route of this machine touches; two checkouts begin to look at two places."""
    routes = json.loads(_run("ip", "-json", "-4", "route", "show", "table", "all"))
    said = (each["dst"] for each in routes if each["dst"] != "default")
    taken = [ipaddress.IPv4Network(each, strict=False) for each in said]
    for step in range(len(POOLS)):
        pool = POOLS[(number + step) % len(POOLS)]
        if not any(pool.overlaps(each) for each in taken):
            return pool
    raise ServiceFailed("docker", "no free network for the bridge")


def _let_through(pool: str, name: str) -> None:
    """Let our containers talk, also where another engine has closed FORWARD, and reach out."""
    said = ("-m", "comment", "--comment", name, "-j")
    _run(*IPTABLES, "-I", "FORWARD", "-s", pool, *said, "ACCEPT")
    _run(*IPTABLES, "-I", "FORWARD", "-d", pool, *said, "ACCEPT")
    outward = ("-s", pool, "!", "-d", pool, *said, "MASQUERADE")
    _run(*IPTABLES, "-t", "nat", "-I", "POSTROUTING", *outward)


def _remove_network(bridge: str) -> None:
    """Remove our firewall rules, our bridge, and the bridges an engine of ours had no time for."""
    if program("ip") is None or program("iptables") is None:
        return  # then there never was one
    for table in ("filter", "nat"):
        for rule in _run(*IPTABLES, "-t", table, "-S").splitlines():
            verb, *words = shlex.split(rule)
            if verb == "-A" and bridge in words:
                _run(*IPTABLES, "-t", table, "-D", *words)
    links = [
        (each["ifname"], ipaddress.IPv4Interface(f"{one['local']}/20").network)
        for each in json.loads(_run("ip", "-json", "-4", "address"))
        for one in each["addr_info"]
    ]
    ours = {pool for name, pool in links if name == bridge}
    for name, pool in links:
        if pool in ours and (name == bridge or name.startswith("br-")):
            _run("ip", "link", "delete", name)


def _prune(host: str) -> None:
    with _client(host) as client:
        images = sorted(client.images(REPOSITORY), key=lambda each: -int(each["Created"]))
        for old in images[KEPT:]:
            with contextlib.suppress(DockerException):
                client.remove_image(old["Id"], force=True)


@contextlib.contextmanager
def _client(host: str) -> Iterator[docker.APIClient]:
    client = docker.APIClient(base_url=host, timeout=ANSWER, version="auto")
    try:
        yield client
    finally:
        client.close()


def _answers(host: str) -> bool:
    # docker-py leaves the socket of a refused connection to the garbage collector.
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(host.removeprefix("unix://")) != 0:
                return False
    try:
        with _client(host) as client:
            return bool(client.ping())
    except DockerException:
        return False


def _run(*command: str) -> str:
    """What a command of root says; raises `ServiceFailed` with its complaint."""
    words = (program(command[0]) or command[0], *command[1:])
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServiceFailed("docker", " ".join(command), done.stderr)
    return done.stdout


def _tried(*command: str) -> bool:
    words = (program(command[0]) or command[0], *command[1:])
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
