"""One cluster as the executor needs it: a client, a few calls, and what is wrong as a sentence."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from kubernetes.stream import ws_client
from urllib3.exceptions import HTTPError
from websocket import WebSocketBadStatusException, WebSocketException

from twingraph_nb.errors import ExecutorError, Unreachable, suggestion
from twingraph_nb.executors.recalled import Engine

__all__ = ["PASSING", "Cluster", "Failed", "Gone", "lines", "reached"]

_PATIENCE = (5.0, 30.0)
"""Seconds for a connection, and for an answer."""
PASSING = (0, 429, 500, 502, 503, 504)
"""What may be better in a moment; 0 = no answer."""
_PAUSES = (0.2, 1.0)
"""Seconds before it is asked again."""
_TAKEN = 409  # status of a name that there is already
_THREADS = 8
_WATCH = 60  # seconds a watch lasts before it is asked for again; servers end them anyway
_LAST = 5  # lines of a log
_POOL = 32  # connections kept
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_CURE = (
    "Start one (kind, k3d, minikube), or say where it is: kubeconfig='path', context='name', "
    "or KUBECONFIG"
)
_UNREADABLE = (
    *(ConfigException, yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, OSError),
)
"""What the client raises about a kubeconfig that is none."""
_RIGHTS = (
    "ask its admin for a Role with: create, get, list, delete jobs (group batch); "
    "get, list, watch, delete pods; get, create pods/attach, pods/exec; get pods/log; list events; "
    "and patch jobs, pods for components in other languages"
)
_MERGE = "application/merge-patch+json"


class Failed(ExecutorError):
    """The cluster refused a call. status: of HTTP, 0 when there was no answer."""

    def __init__(self, said: str, status: int = 0) -> None:
        self.status = status
        super().__init__(said)


class Gone(Failed):
    """What a call is about is not there."""


class Cluster:
    """A client of one cluster. The calls are coroutines; they block threads of their own.

    namespace: for components that name none. version: of the server. left: namespace and name of
    Jobs that could not be deleted; see `tidy`.
    """

    def __init__(self, api: client.ApiClient, server: str, namespace: str) -> None:
        self.server, self.namespace = server, namespace
        self.version = ""
        self.left: set[tuple[str, str]] = set()
        self._api = api
        self._which: Engine | None = None
        self._core, self._batch = client.CoreV1Api(api), client.BatchV1Api(api)
        self._threads = ThreadPoolExecutor(_THREADS, "twingraph-kubernetes")

    def close(self) -> None:
        """Let go of threads and connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._api.close()

    async def which(self) -> Engine:
        """Say which cluster it is, by a namespace that each has from its beginning; who may not
        look at that knows it by the certificate it is trusted for."""
        if self._which is None:
            id, seal = "", _seal(self._api.configuration.ssl_ca_cert)
            read = self._core.read_namespace
            try:
                found = await self._do("get", "namespaces", "", read, "kube-system")
                id = str(found["metadata"]["uid"])
            except Failed as exc:
                if exc.status in PASSING:
                    return Engine("", self.server, seal)
            self._which = Engine(id, self.server, seal)
        return self._which

    async def create_job(self, namespace: str, body: Mapping[str, Any]) -> None:
        """Create a Job; that one of its name is there means that an answer got lost."""
        make, facts = self._batch.create_namespaced_job, body["metadata"]
        key = namespace, str(facts["name"])
        try:
            await self._do("create", "jobs", namespace, make, namespace, body)
        except Failed as exc:
            if exc.status != _TAKEN:
                raise
            there = await self.job(*key)
            if there["metadata"].get("labels") != facts["labels"] or key in self.left:
                # A kernel died before it heard that it had made it: nothing has run in it.
                await self.delete_job(*key)
                await self._do("create", "jobs", namespace, make, namespace, body)
        self.left.discard(key)

    async def job(self, namespace: str, name: str) -> Mapping[str, Any]:
        """Give a Job.

        Raises:
            Gone: there is none.
        """
        read = self._batch.read_namespaced_job
        return await self._do("get", "jobs", namespace, read, name, namespace)

    async def jobs(self, namespace: str, selector: str) -> list[Mapping[str, Any]]:
        """Give the Jobs whose labels fit."""
        read = functools.partial(self._batch.list_namespaced_job, label_selector=selector)
        return _items(await self._do("list", "jobs", namespace, read, namespace))

    async def pods(self, namespace: str, selector: str) -> list[Mapping[str, Any]]:
        """Give the pods whose labels fit."""
        read = functools.partial(self._core.list_namespaced_pod, label_selector=selector)
        return _items(await self._do("list", "pods", namespace, read, namespace))

    async def warnings(self, namespace: str, name: str) -> list[str]:
        """Give what the cluster has said against an object; none if we may not see that."""
        fields = f"involvedObject.name={name},type=Warning"
        read = functools.partial(self._core.list_namespaced_event, field_selector=fields)
        try:
            found = _items(await self._do("list", "events", namespace, read, namespace))
        except Failed:
            return []
        return [str(one.get("message", "")) for one in found]

    async def log_of(self, namespace: str, pod: str, container: str) -> str:
        """Give the last lines a container wrote; none if we may not see them."""
        read = functools.partial(
            self._core.read_namespaced_pod_log,
            container=container,
            tail_lines=_LAST,
            _preload_content=False,
            _request_timeout=_PATIENCE,
        )
        facts = ("get", "pods/log", namespace)
        try:
            told = await self._run(*facts, lambda: bytes(read(pod, namespace).data))
        except Failed:
            return ""
        return str(told.decode("utf-8", "replace").strip())

    async def delete_job(self, namespace: str, name: str) -> None:
        """Delete a Job, and in the background what it has started; fine if it is gone."""
        drop = functools.partial(self._batch.delete_namespaced_job, propagation_policy="Background")
        await self._drop("jobs", namespace, name, drop)

    async def delete_pod(self, namespace: str, name: str, grace: int) -> None:
        """Delete a pod, with `grace` seconds for its end; 0 does not wait for its node."""
        drop = functools.partial(self._core.delete_namespaced_pod, grace_period_seconds=grace)
        await self._drop("pods", namespace, name, drop)

    async def label(
        self, namespace: str, job: str, pod: str, labels: Mapping[str, str | None]
    ) -> None:
        """Set labels of a Job and its pod; None takes one away."""
        body, how = {"metadata": {"labels": dict(labels)}}, {"_content_type": _MERGE}
        patch = functools.partial(self._batch.patch_namespaced_job, **how)
        await self._do("patch", "jobs", namespace, patch, job, namespace, body)
        patch = functools.partial(self._core.patch_namespaced_pod, **how)
        await self._do("patch", "pods", namespace, patch, pod, namespace, body)

    async def tidy(self) -> None:
        """Delete what is left, if the cluster is there again."""
        try:
            for namespace, name in tuple(self.left):
                await self.delete_job(namespace, name)
                self.left.discard((namespace, name))
        except Failed:
            pass  # the label lets the next session find them, and the server its own time limit

    async def attach(
        self, namespace: str, pod: str, container: str, command: Sequence[str] = ()
    ) -> socket.socket:
        """Give a socket of the websocket that carries a container's standard streams, or those of
        a command beside it."""
        what = "exec" if command else "attach"
        reach = functools.partial(self._attached, what, namespace, pod, container, command)
        made: socket.socket = await self._run("get", f"pods/{what}", namespace, reach)
        return made

    def listed(self, namespace: str, selector: str) -> Mapping[str, Any]:
        """Give the list of pods whose labels fit, as the server has it; blocks."""
        return _json(
            _told(
                ("list", "pods", namespace, self.server),
                self._core.list_namespaced_pod,
                namespace,
                label_selector=selector,
                _preload_content=False,
                _request_timeout=_PATIENCE,
            )
        )

    def watched(self, namespace: str, selector: str, version: str) -> Any:
        """Give the answer whose lines are the changes of pods since a version; blocks."""
        return _told(
            ("watch", "pods", namespace, self.server),
            self._core.list_namespaced_pod,
            namespace,
            label_selector=selector,
            resource_version=version,
            watch=True,
            allow_watch_bookmarks=True,
            timeout_seconds=_WATCH,
            _preload_content=False,
            _request_timeout=(_PATIENCE[0], _WATCH + _PATIENCE[1]),
        )

    def hello(self) -> None:
        """Ask the server for its version.

        Raises:
            Unreachable: there is none, or it does not know us.
        """
        try:
            said = client.VersionApi(self._api).get_code(
                _preload_content=False, _request_timeout=_PATIENCE
            )
        except (ApiException, HTTPError, OSError) as exc:
            if getattr(exc, "status", 0) == 403:  # it answers, and that is all we ask
                return
            raise Unreachable("kubernetes", self.server, *_why(exc)) from exc
        self.version = str(_json(said).get("gitVersion", "")).lstrip("v")

    # -- inside --------------------------------------------------------------------------------

    async def _do(
        self, verb: str, what: str, namespace: str, call: Callable[..., Any], *args: Any
    ) -> Mapping[str, Any]:
        """Ask; again when a server is busy, restarting, or did not answer."""
        ask = functools.partial(call, _preload_content=False, _request_timeout=_PATIENCE)
        for pause in (*_PAUSES, None):
            try:
                told: Mapping[str, Any] = await self._run(verb, what, namespace, _read, ask, *args)
                return told
            except Failed as exc:
                if pause is None or exc.status not in PASSING:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _run(
        self, verb: str, what: str, namespace: str, call: Callable[..., Any], *args: Any
    ) -> Any:
        facts = (verb, what, namespace, self.server)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _told, facts, call, *args)

    async def _drop(self, what: str, namespace: str, name: str, call: Callable[..., Any]) -> None:
        try:
            await self._do("delete", what, namespace, call, name, namespace)
        except Gone:
            pass

    def _attached(
        self, what: str, namespace: str, pod: str, container: str, command: Sequence[str]
    ) -> socket.socket:
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/{what}"
        asked = [("container", container), *(("command", part) for part in command)]
        asked += [(one, "true") for one in ("stdin", "stdout", "stderr")]
        settings = self._api.configuration
        sent = {"sec-websocket-protocol": "v4.channel.k8s.io"}
        token = settings.auth_settings().get("BearerToken", {}).get("value")
        if token:
            sent["authorization"] = token
        url = ws_client.get_websocket_url(settings.host + path, asked)
        made: socket.socket = ws_client.create_websocket(settings, url, sent).sock
        made.setblocking(False)
        return made


def reached(kubeconfig: str, context: str) -> Cluster:
    """Give a cluster that has answered; blocks.

    Args:
        kubeconfig: a path; "" = that of the environment, or the pod this kernel runs in.
        context: a name in it; "" = the current one.
    Raises:
        Unreachable: no configuration, or no answer.
    """
    api, namespace = _client_of(kubeconfig, context)
    made = Cluster(api, str(api.configuration.host), namespace or "default")
    try:
        made.hello()
    except Unreachable:
        made.close()
        raise
    return made


def _client_of(kubeconfig: str, context: str) -> tuple[client.ApiClient, str]:
    given = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    path = os.pathsep.join(os.path.expanduser(one) for one in given.split(os.pathsep))
    inside = "KUBERNETES_SERVICE_HOST" in os.environ
    there = any(os.path.exists(one) for one in path.split(os.pathsep))
    if not there and inside and not (kubeconfig or context or os.environ.get("KUBECONFIG")):
        settings = client.Configuration()
        config.load_incluster_config(client_configuration=settings)
        place = _ACCOUNT / "namespace"
        return _client(settings), place.read_text().strip() if place.exists() else ""
    if not there:
        why = "there is no such file, and this kernel runs in no pod"
        raise Unreachable("kubernetes", f"kubeconfig {given}", why, _CURE)
    try:
        contexts, active = config.list_kube_config_contexts(path)
        names = [str(one["name"]) for one in contexts]
        if context and context not in names:
            why = f"it has no context {context!r}{suggestion(context, names)}"
            cure = f"It has: {', '.join(names) or 'none'}"
            raise Unreachable("kubernetes", f"kubeconfig {given}", why, cure)
        chosen = next((one for one in contexts if one["name"] == context), active)
        settings = client.Configuration()
        config.load_kube_config(path, context or None, settings, persist_config=False)
    except _UNREADABLE as exc:
        said = " ".join(str(exc).split()).rstrip(".")
        why = f"it cannot be read: {said or type(exc).__name__}"
        raise Unreachable("kubernetes", f"kubeconfig {given}", why, _CURE) from exc
    return _client(settings), str(chosen.get("context", {}).get("namespace") or "")


def _seal(certificate: str | None) -> str:
    """A digest of the certificate that a server has to show, "" if any will do."""
    try:
        return hashlib.sha256(Path(certificate or "").read_bytes()).hexdigest()[:16]
    except OSError:
        return ""


def _client(settings: client.Configuration) -> client.ApiClient:
    settings.connection_pool_maxsize = _POOL
    settings.retries = False  # it would write a warning into the notebook for each
    return client.ApiClient(settings)


def _told(facts: tuple[str, str, str, str], call: Callable[..., Any], *args: Any, **kw: Any) -> Any:
    """Call, and turn what the client raises into our own error."""
    verb, what, namespace, server = facts
    try:
        return call(*args, **kw)
    except ApiException as exc:
        status, said = int(exc.status or 0), _message(exc)
        raise _error(verb, what, namespace, status, said) from exc
    except WebSocketBadStatusException as exc:
        raise _error(verb, what, namespace, exc.status_code, _body(exc.resp_body)) from exc
    except (HTTPError, WebSocketException, OSError) as exc:
        why, _ = _why(exc)
        raise Failed(f"the cluster at {server} does not answer ({verb} {what}): {why}") from exc


def _error(verb: str, what: str, namespace: str, status: int, said: str) -> Failed:
    told = said.rstrip(".")
    if status == 404 and told.startswith("namespaces "):
        return Failed(
            f"there is no namespace {namespace!r} on the cluster: "
            f"kubectl create namespace {namespace}, or name another one with namespace=",
            status,
        )
    if status in (404, 410):
        return Gone(f"{verb} {what} in namespace {namespace!r}: {told or 'not found'}", status)
    if status == 403 and "exceeded quota" in told:
        return Failed(f"the quota of namespace {namespace!r} is used up: {told}", status)
    if status in (401, 403) and ("cannot " in told or not told or status == 401):
        who = (
            "the cluster does not know this user"
            if status == 401
            else (f"this user may not {verb} {what} in namespace {namespace!r}")
        )
        return Failed(f"{who} ({told or 'Forbidden'}): {_RIGHTS}", status)
    if status == 422:
        return Failed(f"the cluster refuses the description of the job: {told}", status)
    return Failed(f"the cluster refuses to {verb} {what} in {namespace!r}: {told}", status)


def _message(exc: ApiException) -> str:
    return _body(exc.body) or str(exc.reason or "")


def _body(body: object) -> str:
    """The sentence in an answer that is no success."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()[:500]


def _why(exc: BaseException) -> tuple[str, str]:
    """What went wrong on the way to a server, and the cure."""
    if isinstance(exc, ApiException) and exc.status:
        if exc.status == 401:
            return "it does not know this user", "Log in again, or take another context"
        return f"it answers {exc.status} {_message(exc)}".rstrip(), _CURE
    text = str(exc)
    if "CERTIFICATE_VERIFY_FAILED" in text or "SSLError" in text:
        cure = "Check certificate-authority in the kubeconfig"
        return "its certificate is not the one the kubeconfig trusts", cure
    if "refused" in text:
        return "nothing listens there", _CURE
    if "Name or service not known" in text or "NameResolution" in text or "getaddrinfo" in text:
        return "there is no such host", _CURE
    if "timed out" in text or "Timeout" in text:
        return "no answer in time", _CURE
    return text.rstrip(".") or type(exc).__name__, _CURE


def _json(answer: Any) -> Mapping[str, Any]:
    found = json.loads(answer.data)
    return found if isinstance(found, dict) else {}


def _read(ask: Callable[..., Any], *args: Any) -> Mapping[str, Any]:
    return _json(ask(*args))


def _items(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(found.get("items") or ())


def lines(answer: Any) -> Iterator[bytes]:
    """Give the lines of an answer as they come."""
    rest = b""
    for part in answer.stream(None, decode_content=True):
        *whole, rest = (rest + part).split(b"\n")
        yield from whole
